//! Any JSON text to a row of `Kind::Any`, with nothing lost: text without escapes stands where it stood, objects keep the
//! order of their members, and a number that neither a long nor a double holds keeps its digits.

use std::collections::HashMap;
use std::mem::take;

use aqueduct_api::Value;
use aqueduct_api::value::Text;

use super::fault::Fault;
use super::scan::{DEPTH_MAX, Scan, deeper};

type Result<T> = std::result::Result<T, Fault>;

/// Up to so many values stay set aside between two records.
const KEPT_VALUES_MAX: usize = 4096;

/// Reads texts, one after the other. What it gathers of objects and arrays that are not at their end yet is kept from
/// text to text, so that each becomes one piece of memory of just its size.
#[derive(Default)]
pub(crate) struct Reader {
    members: Vec<(Text, Value)>,
    items: Vec<Value>,
}

impl Reader {
    /// The value of a whole text.
    pub(crate) fn read(&mut self, text: &str) -> Result<Value> {
        let mut scan = Scan::new(text);
        let value = self.value(&mut scan, DEPTH_MAX)?;
        scan.end()?;
        Ok(value)
    }

    /// The value that begins at this place.
    pub(crate) fn value(&mut self, scan: &mut Scan<'_>, depth: u32) -> Result<Value> {
        let mut reading = Reading { scan, members: take(&mut self.members), items: take(&mut self.items) };
        let value = reading.value(depth, |_, value| value);
        let Reading { mut members, mut items, .. } = reading;
        if members.capacity() + items.capacity() <= KEPT_VALUES_MAX {
            // An error leaves behind what was open.
            members.clear();
            items.clear();
            (self.members, self.items) = (members, items);
        }
        value
    }
}

struct Reading<'a, 'b> {
    scan: &'a mut Scan<'b>,
    members: Vec<(Text, Value)>,
    items: Vec<Value>,
}

impl Reading<'_, '_> {
    /// Makes each kind of value just where it is to stay: the copy of one that was written in parts a moment ago waits for
    /// all of them, which took a third of the time.
    #[inline(always)]
    fn value<T>(&mut self, depth: u32, put: impl FnOnce(&mut Self, Value) -> T) -> Result<T> {
        self.scan.spend()?;
        match self.scan.token() {
            b'"' => {
                let text = self.scan.text()?;
                Ok(put(self, Value::Text(text)))
            }
            b'-' | b'0'..=b'9' => {
                let number = self.scan.number()?;
                match number.long() {
                    Some(long) => Ok(put(self, Value::Long(long))),
                    None => number.value(self.scan.text).map(|value| put(self, value)),
                }
            }
            b'{' => {
                let members = self.object(deeper(depth)?)?;
                Ok(put(self, Value::Map(members)))
            }
            b'[' => {
                let items = self.list(deeper(depth)?)?;
                Ok(put(self, Value::List(items)))
            }
            b't' => self.scan.literal("true").map(|()| put(self, Value::Boolean(true))),
            b'f' => self.scan.literal("false").map(|()| put(self, Value::Boolean(false))),
            b'n' => self.scan.literal("null").map(|()| put(self, Value::Null)),
            _ => Err(self.scan.expected("a value")),
        }
    }

    #[inline(never)]
    fn object(&mut self, depth: u32) -> Result<Box<[(Text, Value)]>> {
        let begin = self.members.len();
        self.scan.at += 1;
        while self.scan.more(b'}', self.members.len() == begin)? {
            let name_at = self.scan.at;
            let name = self.scan.name_text()?;
            if let Err(fault) = self.value(depth, |this, value| this.members.push((name, value))) {
                return Err(self.in_member(name_at, fault));
            }
        }
        last_wins(&mut self.members, begin, self.scan.text.as_bytes());
        Ok(self.members.split_off(begin).into_boxed_slice())
    }

    #[cold]
    fn in_member(&mut self, name_at: usize, fault: Fault) -> Fault {
        self.scan.at = name_at;
        match self.scan.name_text() {
            Ok(name) => fault.in_field(name.get(self.scan.text.as_bytes())),
            Err(_) => fault,
        }
    }

    #[inline(never)]
    fn list(&mut self, depth: u32) -> Result<Box<[Value]>> {
        let begin = self.items.len();
        self.scan.at += 1;
        while self.scan.more(b']', self.items.len() == begin)? {
            let index = self.items.len() - begin;
            self.value(depth, |this, value| this.items.push(value)).map_err(|fault| fault.in_item(index))?;
        }
        Ok(self.items.split_off(begin).into_boxed_slice())
    }
}

/// Of members of one name the last value counts, at the place of the first: what Jackson's tree does, and so Kafka's own
/// converter.
#[inline]
pub(crate) fn last_wins(members: &mut Vec<(Text, Value)>, begin: usize, payload: &[u8]) {
    let few = members.len() - begin <= 32;
    if few && !may_repeat(&members[begin..], payload) {
        return;
    }
    repeated(members, begin, payload);
}

/// Whether two of a few names may be the same: a bit for each name in one word, and a look only where bits meet.
#[inline]
fn may_repeat(members: &[(Text, Value)], payload: &[u8]) -> bool {
    let mut seen = 0_u64;
    for (index, (name, _)) in members.iter().enumerate() {
        let name = name.bytes(payload);
        let ends = name
            .first()
            .zip(name.last())
            .map_or(0, |(first, last)| usize::from(*first) * 31 + usize::from(*last) * 7);
        let bit = 1 << ((ends + name.len() * 13) % 64);
        if seen & bit != 0 && members[..index].iter().any(|(other, _)| other.bytes(payload) == name) {
            return true;
        }
        seen |= bit;
    }
    false
}

#[cold]
fn repeated(members: &mut Vec<(Text, Value)>, begin: usize, payload: &[u8]) {
    let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(members.len() - begin);
    let named = members.iter().enumerate().skip(begin);
    let firsts: Vec<usize> =
        named.map(|(index, (name, _))| *places.entry(name.bytes(payload)).or_insert(index)).collect();
    let mut kept = begin;
    let mut moved_to = Vec::with_capacity(firsts.len());
    for (index, first) in (begin..).zip(firsts) {
        if first == index {
            members.swap(kept, index);
            moved_to.push(kept);
            kept += 1;
        } else {
            let place = moved_to[first - begin];
            members[place].1 = std::mem::replace(&mut members[index].1, Value::Null);
            moved_to.push(place);
        }
    }
    members.truncate(kept);
}
