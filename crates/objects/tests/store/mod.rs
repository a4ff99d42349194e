//! A store in memory that loses answers and takes its time, and reads its objects back as a user would.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_api::{Record, Result};
use aqueduct_objects::config::Compression;
use aqueduct_objects::{Finished, Footprint, Found, Leftovers, Store, Upload};
use async_trait::async_trait;
use bytes::Bytes;

/// A small generator: a seed replays.
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) objects: u64,
    pub(crate) found: u64,
    pub(crate) lost_answers: u64,
}

struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// All lines of all objects, with how often each stands there.
    lines: BTreeMap<String, u64>,
    rng: Rng,
    calm: bool,
    counts: Counts,
}

pub(crate) struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            objects: BTreeMap::new(),
            lines: BTreeMap::new(),
            rng: Rng(seed),
            calm: false,
            counts: Counts::default(),
        };
        Arc::new(Self(Arc::new(Mutex::new(state))))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn calm(&self, calm: bool) {
        self.with(|state| state.calm = calm);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.with(|state| Counts { objects: state.objects.len() as u64, ..state.counts })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.with(|state| state.objects.keys().cloned().collect())
    }

    /// How often each line stands in all objects together.
    pub(crate) fn lines(&self) -> BTreeMap<String, u64> {
        self.with(|state| state.lines.clone())
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.with(|state| state.lines.contains_key(line))
    }

    /// An object that another run or another program has left at a name that is needed: empty, cut off, without a footer,
    /// or with other records.
    pub(crate) fn put_foreign(&self, name: String, compression: Compression, records: &[Record]) {
        self.with(|state| {
            let mut bytes: Vec<u8> = Vec::new();
            for value in records.iter().filter_map(|record| record.value.bytes()) {
                bytes.extend(value.iter().rev());
                bytes.push(b'\n');
            }
            match state.rng.below(4) {
                0 => bytes.clear(),
                1 => bytes.push(b'x'),
                _ if compression == Compression::Zstd => bytes = zstd::encode_all(&bytes[..], 1).unwrap(),
                _ => {}
            }
            state.objects.insert(name, bytes);
        });
    }

    /// What a user does who is told to.
    pub(crate) fn move_away(&self, name: &str) {
        self.with(|state| {
            let bytes = state.objects.remove(name).expect("it names an object that stands there");
            // What is not ours has no lines.
            for line in plain(name, &bytes).unwrap_or_default().lines() {
                if let Some(times) = state.lines.get_mut(line) {
                    *times -= 1;
                }
            }
            state.lines.retain(|_, times| *times > 0);
        });
    }

    /// Offsets grow within each object, from the one in its name on.
    pub(crate) fn check_order(&self) {
        self.with(|state| {
            for (name, bytes) in &state.objects {
                let start: i64 = name.rsplit_once('-').unwrap().1[..20].parse().unwrap();
                let text = plain(name, bytes).unwrap();
                let offsets =
                    text.lines().map(|line| line.split(':').nth(1).unwrap().parse::<i64>().unwrap());
                let offsets: Vec<i64> = offsets.collect();
                assert_eq!(offsets.first(), Some(&start), "{name}");
                assert!(offsets.is_sorted(), "{name}");
            }
        });
    }
}

fn plain(name: &str, bytes: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    if name.ends_with(".zst") {
        text = zstd::decode_all(bytes).ok()?;
    } else if name.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut text).ok()?;
    } else {
        text.extend(bytes);
    }
    String::from_utf8(text).ok()
}

async fn pause(state: &Mutex<State>) {
    let yields = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rng.below(4)
    };
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn find(&self, name: &str) -> Result<Option<Found>> {
        pause(&self.0).await;
        let found = self.with(|state| {
            let bytes = state.objects.get(name)?;
            state.counts.found += 1;
            let tail = &bytes[bytes.len().saturating_sub(aqueduct_objects::store::TAIL_BYTES)..];
            Some(Found { bytes: bytes.len() as u64, tail: tail.to_vec().into() })
        });
        pause(&self.0).await;
        Ok(found)
    }

    async fn read(&self, name: &str, from: u64) -> Result<Bytes> {
        pause(&self.0).await;
        Ok(self.with(|state| {
            let bytes = state.objects.get(name).map_or(&[][..], Vec::as_slice);
            let from = bytes.len().min(from as usize);
            // Pieces end anywhere.
            let piece = 1 + state.rng.below(700) as usize;
            bytes[from..bytes.len().min(from + piece)].to_vec().into()
        }))
    }

    async fn sweep(&self, _: &Leftovers<'_>) -> Result<()> {
        pause(&self.0).await;
        Ok(())
    }

    async fn begin(&self, name: &str, _: &Footprint) -> Result<Box<dyn Upload>> {
        pause(&self.0).await;
        Ok(Box::new(MemoryUpload { state: Arc::clone(&self.0), name: name.to_owned(), bytes: Vec::new() }))
    }
}

struct MemoryUpload {
    state: Arc<Mutex<State>>,
    name: String,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        pause(&self.state).await;
        self.bytes.append(bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>, footprint: &Footprint) -> Result<Finished> {
        pause(&self.state).await;
        assert!(footprint.records > 0);
        let outcome = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.objects.contains_key(&self.name) {
                Finished::Refused
            } else {
                for line in plain(&self.name, &self.bytes).unwrap().lines() {
                    *state.lines.entry(line.to_owned()).or_default() += 1;
                }
                state.objects.insert(self.name.clone(), self.bytes);
                // The answer is lost, and the request repeated: it is refused, by our own object.
                if !state.calm && state.rng.below(6) == 0 {
                    state.counts.lost_answers += 1;
                    Finished::Refused
                } else {
                    Finished::Created
                }
            }
        };
        pause(&self.state).await;
        Ok(outcome)
    }

    fn buffered(&self) -> usize {
        self.bytes.len()
    }
}
