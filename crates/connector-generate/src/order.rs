//! Order number n of a partition, as JSON: a pure function of seed, partition and n, written from prepared
//! pieces into one piece of memory for the whole batch.

use std::sync::LazyLock;

use aqueduct_api::murmur2::partition_for_key;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

/// About what an order takes, to set memory aside for a batch.
pub(crate) const ORDER_BYTES: usize = 288;
/// No order takes more.
pub(crate) const ORDER_BYTES_MAX: usize = 400;

/// The customers whose orders come to one partition, and its own dice: everything that orders are made from.
pub struct Customers {
    numbers: Vec<u32>,
    seed: u64,
}

impl Customers {
    /// Those of each partition, of so many, as the key decides. The same seed makes the same orders.
    pub fn shared_out(partitions: u32, seed: u64) -> Vec<Self> {
        let seed_of = |partition| scramble(seed ^ scramble(u64::from(partition) + 1));
        let mut all: Vec<Self> =
            (0..partitions).map(|p| Self { numbers: Vec::new(), seed: seed_of(p) }).collect();
        for number in 0..CUSTOMERS {
            all[partition_for_key(key(number), partitions) as usize].numbers.push(number);
        }
        all
    }

    /// Adds the order to `out`; the answer is its key.
    ///
    /// `id` is its number, `offset` its place in the partition.
    pub(crate) fn order(&self, id: u64, offset: u64, created_at: &[u8; 27], out: &mut BytesMut) -> Bytes {
        let drawn = self.draw(offset);
        let customer = key(drawn.customer);

        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        out.extend_from_slice(b",\"customer_id\":\"");
        out.extend_from_slice(customer);
        out.extend_from_slice(COUNTRIES[drawn.country()]);
        out.extend_from_slice(STATES[drawn.state]);
        out.extend_from_slice(BASKETS[drawn.basket].json.as_bytes());
        out.extend_from_slice(&digits::<4>(drawn.card));
        out.extend_from_slice(b"\",\"created_at\":\"");
        out.extend_from_slice(created_at);
        out.extend_from_slice(b"\"}");
        Bytes::from_static(customer)
    }

    /// What the order at that place in the partition is made of.
    pub(crate) fn draw(&self, offset: u64) -> Drawn {
        let dice = scramble(self.seed.wrapping_add((offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Drawn {
            dice,
            customer: self.numbers[(((dice & 0xffff_ffff) * self.numbers.len() as u64) >> 32) as usize],
            basket: (dice >> 32) as usize % BASKETS.len(),
            card: (dice >> 48) as u32 % 10_000,
            state: (dice >> 42) as usize % STATES.len(),
        }
    }
}

/// What an order is made of, whatever it is written as.
pub(crate) struct Drawn {
    pub(crate) dice: u64,
    /// Their number.
    pub(crate) customer: u32,
    /// Which of [`BASKETS`].
    pub(crate) basket: usize,
    /// The last digits of the card.
    pub(crate) card: u32,
    /// Which of [`STATES`].
    pub(crate) state: usize,
}

impl Drawn {
    /// Which of [`COUNTRIES`].
    pub(crate) fn country(&self) -> usize {
        self.customer as usize % COUNTRIES.len()
    }
}

/// `2026-01-01T00:00:00.123456Z`, rendered anew only when the second changes.
pub(crate) struct Clock {
    second: i64,
    text: [u8; 27],
}

impl Default for Clock {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }
}

impl Clock {
    /// That moment, in microseconds since 1970.
    pub(crate) fn at(&mut self, at_us: i64) -> &[u8; 27] {
        let second = at_us.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            let text = Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_string();
            self.text[..19].copy_from_slice(&text.as_bytes()[..19]);
        }
        self.text[20..26].copy_from_slice(&digits::<6>(at_us.rem_euclid(1_000_000) as u32));
        &self.text
    }
}

/// The last `N` decimal digits.
pub(crate) fn digits<const N: usize>(mut number: u32) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// The finalizer of splitmix64: every bit of the input changes half of the output.
pub(crate) fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many customers the shop has.
pub(crate) const CUSTOMERS: u32 = 50_000;
/// Bytes of a key: `c-00042`.
const KEY_BYTES: usize = 7;

/// The key of a customer's orders.
pub(crate) fn key(customer: u32) -> &'static [u8] {
    &KEYS.as_bytes()[customer as usize * KEY_BYTES..][..KEY_BYTES]
}

/// All keys in one text, so that a record's key is a slice that nobody has to count handles of.
static KEYS: LazyLock<String> =
    LazyLock::new(|| (0..CUSTOMERS).map(|number| format!("c-{number:05}")).collect());

/// What is in an order.
pub(crate) struct Basket {
    pub(crate) items: Vec<Item>,
    /// The sum of the items.
    pub(crate) total_cents: u64,
    /// From the amount to the first digits of the card.
    json: String,
}

/// A line of an order.
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) quantity: u64,
    pub(crate) price_cents: u64,
}

/// Whole baskets, so that none is put together twice.
pub(crate) static BASKETS: LazyLock<Vec<Basket>> = LazyLock::new(|| (0..1024).map(basket).collect());

fn basket(number: u64) -> Basket {
    let mut dice = scramble(number + 1);
    let mut roll = |sides: u64| {
        dice = scramble(dice.wrapping_add(0x9e37_79b9_7f4a_7c15));
        dice % sides
    };
    let (mut total_cents, mut items) = (0, Vec::new());
    for _ in 0..[1, 1, 1, 2, 2, 3][roll(6) as usize] {
        let product = PRODUCTS[roll(PRODUCTS.len() as u64) as usize];
        let (quantity, price_cents) = (1 + roll(3), 195 + 50 * roll(200));
        total_cents += quantity * price_cents;
        items.push(Item { sku: format!("{product}-{}", 100 + roll(900)), quantity, price_cents });
    }
    let line = |Item { sku, quantity, price_cents }: &Item| {
        format!(r#"{{"sku":"{sku}","quantity":{quantity},"price":{}}}"#, money(*price_cents))
    };
    let lines: Vec<String> = items.iter().map(line).collect();
    let json = format!(r#"{},"items":[{}],"card_number":"{CARD}"#, money(total_cents), lines.join(","));
    Basket { items, total_cents, json }
}

/// The first digits of all cards: numbers from 4000 0000 0000 are given to nobody.
pub(crate) const CARD: &str = "400000000000";

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

const PRODUCTS: [&str; 8] = ["tea", "mug", "kettle", "honey", "filter", "grinder", "scale", "press"];

const COUNTRIES: [&[u8]; 8] = [
    br#"","country":"SE","currency":"SEK""#,
    br#"","country":"DE","currency":"EUR""#,
    br#"","country":"FR","currency":"EUR""#,
    br#"","country":"FI","currency":"EUR""#,
    br#"","country":"NO","currency":"NOK""#,
    br#"","country":"DK","currency":"DKK""#,
    br#"","country":"GB","currency":"GBP""#,
    br#"","country":"US","currency":"USD""#,
];

/// One order in sixteen is a refund, with a negative amount.
const STATES: [&[u8]; 16] = [
    br#","status":"refunded","amount":-"#,
    br#","status":"cancelled","amount":"#,
    br#","status":"new","amount":"#,
    br#","status":"new","amount":"#,
    br#","status":"new","amount":"#,
    br#","status":"paid","amount":"#,
    br#","status":"paid","amount":"#,
    br#","status":"paid","amount":"#,
    br#","status":"paid","amount":"#,
    br#","status":"paid","amount":"#,
    br#","status":"shipped","amount":"#,
    br#","status":"shipped","amount":"#,
    br#","status":"shipped","amount":"#,
    br#","status":"shipped","amount":"#,
    br#","status":"delivered","amount":"#,
    br#","status":"delivered","amount":"#,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_customers_and_no_order_is_longer_than_said() {
        let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap();
        let prefix = "{\"id\":,\"customer_id\":\"\",\"created_at\":\"\"}".len() + 20 + KEY_BYTES + 4 + 27;
        let most = prefix
            + longest(&mut COUNTRIES.iter().map(|text| text.len()))
            + longest(&mut STATES.iter().map(|text| text.len()))
            + longest(&mut BASKETS.iter().map(|basket| basket.json.len()));
        assert!(most <= ORDER_BYTES_MAX, "{most}");
        assert!(Customers::shared_out(1_000, 1).iter().all(|customers| !customers.numbers.is_empty()));
    }

    #[test]
    fn the_clock_tells_the_time_to_the_microsecond() {
        let mut clock = Clock::default();
        for (at_us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_767_225_600_250_001, "2026-01-01T00:00:00.250001Z"),
            (1_767_225_600_999_999, "2026-01-01T00:00:00.999999Z"),
            (1_767_225_601_000_000, "2026-01-01T00:00:01.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(std::str::from_utf8(clock.at(at_us)), Ok(text));
        }
    }
}
