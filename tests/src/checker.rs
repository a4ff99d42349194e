//! The outside checker: it reads the topic and the finished objects, nothing else, and says what is missing, double,
//! strange, or out of order.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A record as it stands in a topic or in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Of the topic; for an object, from its name.
    pub partition: i32,
    /// In the topic; for an object, the start offset in its name.
    pub offset: i64,
    /// The number that every record has once.
    pub id: u64,
    /// The record's key, which its value repeats.
    pub key: String,
}

impl Stored {
    /// Takes a value apart.
    ///
    /// # Panics
    /// When it is none of ours.
    pub fn parse(partition: i32, offset: i64, value: &[u8]) -> Self {
        let text = || String::from_utf8_lossy(value);
        let json: serde_json::Value =
            serde_json::from_slice(value).unwrap_or_else(|error| panic!("not JSON ({error}): {}", text()));
        let id = json["id"].as_u64().unwrap_or_else(|| panic!("no id in {}", text()));
        let key = json["key"].as_str().unwrap_or_else(|| panic!("no key in {}", text()));
        Self { partition, offset, id, key: key.to_owned() }
    }
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Ids that the topic has.
    pub produced: usize,
    /// Ids of the topic that are in no object.
    pub lost: Vec<u64>,
    /// Ids that stand in the objects more than once.
    pub doubled: Vec<u64>,
    /// Ids that only the objects have.
    pub strange: Vec<u64>,
    /// Ids that come after a later record of the same key.
    pub disordered: Vec<u64>,
}

impl Report {
    /// # Panics
    /// Unless every id is there exactly once and in the order of its key.
    pub fn assert_exact(&self) {
        let Self { produced, lost, doubled, strange, disordered } = self;
        let some = |ids: &[u64]| format!("{} {:?}", ids.len(), &ids[..ids.len().min(10)]);
        assert!(
            lost.is_empty() && doubled.is_empty() && strange.is_empty() && disordered.is_empty(),
            "of {produced} records: lost {}, doubled {}, strange {}, disordered {}",
            some(lost),
            some(doubled),
            some(strange),
            some(disordered)
        );
    }
}

/// Compares. The objects' records come in the order of partition, start offset and line, as `objects` gives them.
pub fn check(topic: &[Stored], objects: &[Stored]) -> Report {
    let mut report = Report::default();
    let mut places: HashMap<u64, (usize, u32)> = HashMap::new();
    for (place, record) in topic.iter().enumerate() {
        let before = places.insert(record.id, (place, 0));
        assert!(before.is_none(), "the producer wrote id {} twice, so nothing can be compared", record.id);
    }
    report.produced = places.len();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for record in objects {
        let Some((place, seen)) = places.get_mut(&record.id) else {
            report.strange.push(record.id);
            continue;
        };
        *seen += 1;
        if *seen > 1 {
            report.doubled.push(record.id);
            continue;
        }
        let after = last.entry(&record.key).or_insert(*place);
        if *place < *after {
            report.disordered.push(record.id);
        }
        *after = (*place).max(*after);
    }
    report.lost = places.iter().filter(|(_, (_, seen))| *seen == 0).map(|(id, _)| *id).collect();
    report.lost.sort_unstable();
    report
}

/// All records of the objects below a folder whose names end in `{partition}-{start_offset}` and a suffix.
///
/// # Panics
/// When an object is no such thing, or is torn.
pub fn objects(folder: &Path) -> Vec<Stored> {
    let mut stored = Vec::new();
    for (partition, offset, line) in lines(folder) {
        stored.push(Stored::parse(partition, offset, line.as_bytes()));
    }
    stored
}

/// The same, line by line as they stand there: partition, start offset of the object, text.
///
/// # Panics
/// As above.
pub fn lines(folder: &Path) -> Vec<(i32, i64, String)> {
    let mut found: Vec<(i32, i64, PathBuf)> = Vec::new();
    walk(folder, &mut |path| {
        let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
        let parts = stem.and_then(|stem| stem.split_once('-'));
        let parts =
            parts.and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
        let (partition, offset) = parts.unwrap_or_else(|| panic!("a strange object: {}", path.display()));
        found.push((partition, offset, path));
    });
    found.sort();
    let mut all = Vec::new();
    for (partition, offset, path) in found {
        let text =
            String::from_utf8(read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.ends_with('\n'), "the last line of {} is torn", path.display());
        all.extend(text.lines().map(|line| (partition, offset, line.to_owned())));
    }
    all
}

fn read(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let done = if path.extension().is_some_and(|extension| extension == "zst") {
        zstd::stream::copy_decode(file, &mut text).map(|()| text.len())
    } else {
        file.read_to_end(&mut text)
    };
    done.unwrap_or_else(|error| panic!("{} is torn: {error}", path.display()));
    text
}

/// Hidden names hold what is not finished: parts of uploads, temporary files.
fn walk(folder: &Path, found: &mut impl FnMut(PathBuf)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(ids: &[u64]) -> Vec<Stored> {
        ids.iter().map(|id| Stored { partition: 0, offset: 0, id: *id, key: format!("{}", id % 2) }).collect()
    }

    #[test]
    fn finds_what_was_planted() {
        let topic = records(&[0, 1, 2, 3, 4, 5]);
        let sound = Report { produced: 6, ..Report::default() };
        assert_eq!(check(&topic, &topic), sound);
        // Another key may overtake, the same may not.
        assert_eq!(check(&topic, &records(&[1, 0, 3, 2, 5, 4])), sound);
        let found = check(&topic, &records(&[0, 4, 2, 1, 1, 9, 5]));
        let expected =
            Report { produced: 6, lost: vec![3], doubled: vec![1], strange: vec![9], disordered: vec![2] };
        assert_eq!(found, expected);
    }

    #[test]
    fn reads_objects_in_the_order_of_their_offsets() {
        let folder = crate::Folder::new("objects");
        let line = |id: u64| format!("{{\"id\":{id},\"key\":\"k\"}}\n");
        folder.write("0-10.jsonl", &line(10));
        folder.write("0-9.jsonl", &line(9));
        let packed = zstd::encode_all((line(7) + &line(8)).as_bytes(), 1).unwrap();
        fs::write(folder.path().join("0-7.jsonl.zst"), packed).unwrap();
        folder.write(".0-11.tmp", "torn");
        let ids: Vec<u64> = objects(folder.path()).iter().map(|record| record.id).collect();
        assert_eq!(ids, [7, 8, 9, 10]);
    }
}
