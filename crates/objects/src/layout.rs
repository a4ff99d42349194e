//! Which group a record belongs to. A group is what shares objects: one topic, one partition, one rendered
//! path. The name of an object is its group's path with the offset of its first record.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::config::{Piece, Template};
use aqueduct_api::{Error, Record, Result};

use crate::group::Group;
use crate::names::{added_suffix, escape, unfit};

/// Maps records to groups; remembers the last answer of each partition, so that most records cost a
/// comparison.
pub(crate) struct Layout {
    head: Template,
    tail: Template,
    suffix: &'static str,
    /// Times that fall into one slice of this length render alike; 0 when nothing may be remembered.
    slice_us: i64,
    timed: bool,
    streams: Vec<Stream>,
    by_origin: HashMap<(Arc<str>, i32), usize>,
    /// All groups that are known.
    pub(crate) groups: Vec<Group>,
    by_path: HashMap<(usize, String), usize>,
    last: usize,
}

/// One partition of one topic.
pub(crate) struct Stream {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The offset of the last record met.
    pub(crate) position: i64,
    /// What its offsets belong to, where the source says that.
    pub(crate) incarnation: Option<Arc<str>>,
    hit: Option<Hit>,
}

struct Hit {
    from_us: i64,
    until_us: i64,
    group: usize,
}

impl Layout {
    /// For a path that was checked, see [`crate::config::check`].
    pub(crate) fn new(path: &Template, suffix: &'static str) -> Result<Self> {
        let (head, tail) = path.around_start_offset().ok_or_else(|| {
            Error::config(format!("the path `{}` does not name {{start_offset}} once", path.as_str()))
        })?;
        let mut slice_us = i64::MAX;
        let mut timed = false;
        for piece in path.pieces() {
            match piece {
                Piece::Key | Piece::Header(_) => slice_us = 0,
                Piece::Timestamp(format) => {
                    timed = true;
                    slice_us = slice_us.min(slice_of(format));
                }
                _ => {}
            }
        }
        Ok(Self {
            head,
            tail,
            suffix: added_suffix(path, suffix),
            slice_us,
            timed,
            streams: Vec::new(),
            by_origin: HashMap::new(),
            groups: Vec::new(),
            by_path: HashMap::new(),
            last: 0,
        })
    }

    /// The partition of a record. Offsets only ever grow there; where they go back, the partition was given
    /// up and came again, and what is buffered of it is void.
    pub(crate) fn stream(&mut self, record: &Record) -> Result<usize> {
        let origin = record.origin;
        let same = |stream: &Stream| {
            stream.partition == origin.partition
                && (Arc::ptr_eq(&stream.topic, &record.topic) || stream.topic == record.topic)
        };
        if !self.streams.get(self.last).is_some_and(same) {
            let key = (Arc::clone(&record.topic), origin.partition);
            self.last = *self.by_origin.entry(key).or_insert_with(|| {
                self.streams.push(Stream {
                    topic: Arc::clone(&record.topic),
                    partition: origin.partition,
                    position: i64::MIN,
                    incarnation: None,
                    hit: None,
                });
                self.streams.len() - 1
            });
        }
        let stream = &mut self.streams[self.last];
        if origin.offset <= stream.position {
            return Err(Error::fatal(
                "the offsets of a partition went back, so it was read anew from an earlier place",
            )
            .with("topic", &record.topic)
            .with("partition", origin.partition)
            // No field `offset`: it is not the record that fails, and another run reads it as any other.
            .with("at", origin.offset)
            .with("before", stream.position)
            .remedy("starting again from the stored offsets"));
        }
        stream.position = origin.offset;
        Ok(self.last)
    }

    /// The group of a record of this stream. A record that cannot be in any name is a bad one.
    pub(crate) fn group(&mut self, stream: usize, record: &Record) -> Result<usize> {
        let at_us = record.timestamp_us.unwrap_or(i64::MIN);
        if let Some(hit) = &self.streams[stream].hit
            && (!self.timed || (hit.from_us <= at_us && at_us < hit.until_us))
        {
            return Ok(hit.group);
        }
        let (mut head, mut tail) = (String::new(), String::new());
        self.head.render(record, None, escape, &mut head)?;
        self.tail.render(record, None, escape, &mut tail)?;
        tail.push_str(self.suffix);
        let key = format!("{head}\n{tail}");
        let group = match self.by_path.get(&(stream, key.clone())) {
            Some(group) => *group,
            None => {
                let group = Group::new(stream, head, tail);
                let name = group.name(0);
                let topic_is_one_level = !record.topic.contains('/');
                let fault =
                    if topic_is_one_level { unfit(&name) } else { Some("has a slash in its topic".into()) };
                if let Some(why) = fault {
                    return Err(Error::bad_record(format!("no object can be named `{name}`: it {why}"))
                        .remedy("correct `path`, or the record"));
                }
                self.groups.push(group);
                self.by_path.insert((stream, key), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        if self.slice_us > 0 {
            let from_us = if self.timed { at_us - at_us.rem_euclid(self.slice_us) } else { 0 };
            let until_us = from_us.saturating_add(self.slice_us);
            self.streams[stream].hit = Some(Hit { from_us, until_us, group });
        }
        Ok(group)
    }

    pub(crate) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    pub(crate) fn streams_mut(&mut self) -> &mut [Stream] {
        &mut self.streams
    }

    /// Forgets groups; the others move up in order.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut Group) -> bool) {
        self.groups.retain_mut(keep);
        self.by_path.clear();
        for (index, group) in self.groups.iter().enumerate() {
            self.by_path.insert((group.stream, format!("{}\n{}", group.head, group.tail)), index);
        }
        self.streams.iter_mut().for_each(|stream| stream.hit = None);
    }
}

/// The longest slice of time, in microseconds, over which this strftime format surely renders alike in UTC.
fn slice_of(format: &str) -> i64 {
    const SECOND: i64 = 1_000_000;
    let mut slice_us = 24 * 3_600 * SECOND;
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            continue;
        }
        let specifier = rest.by_ref().find(|c| !matches!(c, '-' | '_' | '^' | '#' | '0'..='9' | ':'));
        slice_us = slice_us.min(match specifier {
            Some('Y' | 'y' | 'C' | 'm' | 'B' | 'b' | 'h' | 'd' | 'e' | 'j' | 'A' | 'a' | 'u' | 'w') => {
                slice_us
            }
            Some('U' | 'W' | 'V' | 'G' | 'g' | 'F' | 'D' | 'Z' | 'z' | 'Q' | 'q' | '%') => slice_us,
            Some('H' | 'I' | 'k' | 'l' | 'P' | 'p') => 3_600 * SECOND,
            Some('M' | 'R') => 60 * SECOND,
            Some('S' | 's' | 'T') => SECOND,
            _ => 0,
        });
    }
    slice_us
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::{Headers, Origin, Payload};

    fn record(topic: &str, partition: i32, offset: i64, us: i64, key: &str) -> Record {
        Record {
            topic: topic.into(),
            origin: Origin { partition, offset },
            key: key.to_owned().into(),
            value: Payload::Absent,
            headers: Headers::default(),
            timestamp_us: Some(us),
        }
    }

    fn name(layout: &mut Layout, record: &Record) -> Result<String> {
        let stream = layout.stream(record)?;
        let group = layout.group(stream, record)?;
        Ok(layout.groups[group].name(record.origin.offset))
    }

    /// Whatever is remembered, the name is what the template renders.
    #[test]
    fn names_are_those_of_the_template() {
        for path in [
            "{topic}/{partition}-{start_offset}",
            "{topic}/{timestamp:%Y/%m/%d}/{partition}-{start_offset}",
            "{topic}/{timestamp:%Y-%m-%dT%H}/{partition}-{start_offset}-{timestamp:%M}",
            "{topic}/{timestamp:%s}/{partition}-{start_offset}.{timestamp:%3f}",
            "{topic}/{key}/{partition}-{start_offset}",
        ] {
            let template: Template = path.parse().unwrap();
            let mut layout = Layout::new(&template, "").unwrap();
            let mut seed: u64 = 7;
            for offset in 0..5_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let us = -500_000_000_000 + offset * 31_000_000 + (seed >> 40) as i64 * 7;
                let topic = if seed >> 61 == 0 { "a" } else { "b" };
                let record = record(topic, (seed >> 33) as i32 % 3, offset, us, &format!("k/{}", seed >> 62));
                let mut expected = String::new();
                template.render(&record, None, escape, &mut expected).unwrap();
                assert_eq!(name(&mut layout, &record).unwrap(), expected);
                if offset % 1_000 == 0 {
                    let mut keep = false;
                    layout.retain(|_| {
                        keep = !keep;
                        keep
                    });
                }
            }
        }
    }

    #[test]
    fn the_suffix_is_that_of_the_format_unless_written() {
        let named = |path: &str| {
            let mut layout = Layout::new(&path.parse().unwrap(), ".jsonl.zst").unwrap();
            name(&mut layout, &record("t", 0, 5, 0, "")).unwrap()
        };
        assert_eq!(named("{topic}/{partition}-{start_offset}"), "t/0-00000000000000000005.jsonl.zst");
        assert_eq!(named("{topic}/{partition}-{start_offset}.json"), "t/0-00000000000000000005.json");
        assert_eq!(
            named("{topic}/{partition}-{start_offset}.v2.JSON.gz"),
            "t/0-00000000000000000005.v2.JSON.gz"
        );
        // A dot alone is no suffix.
        for (path, name) in [
            ("v1.2/{topic}-{partition}-{start_offset}-a.b", "v1.2/t-0-00000000000000000005-a.b.jsonl.zst"),
            ("{topic}/{partition}-{start_offset}.", "t/0-00000000000000000005..jsonl.zst"),
            ("{topic}/{partition}/{start_offset}/x.gz/y", "t/0/00000000000000000005/x.gz/y.jsonl.zst"),
        ] {
            assert_eq!(named(path), name);
        }
    }

    #[test]
    fn what_a_record_brings_cannot_leave_its_folder() {
        let mut layout =
            Layout::new(&"{topic}/{key}/{partition}-{start_offset}".parse().unwrap(), "").unwrap();
        for (offset, (key, folder)) in
            [("..", "%2E."), ("a/b", "a%2Fb"), ("", "%"), ("%", "%25"), ("v1.2", "v1.2"), ("ä", "%C3%A4")]
                .into_iter()
                .enumerate()
        {
            let name = name(&mut layout, &record("t", 0, offset as i64, 0, key)).unwrap();
            assert_eq!(name, format!("t/{folder}/0-{offset:020}"));
        }
        let long = "k".repeat(256);
        for (offset, topic, key) in
            [(10, "..", "k"), (11, "a/b", "k"), (12, "", "k"), (13, "t", long.as_str())]
        {
            let error = name(&mut layout, &record(topic, 0, offset, 0, key)).unwrap_err();
            assert_eq!(error.kind(), aqueduct_api::ErrorKind::BadRecord, "{topic}");
        }
    }

    #[test]
    fn offsets_that_go_back_are_fatal() {
        let mut layout = Layout::new(&"{topic}/{partition}-{start_offset}".parse().unwrap(), "").unwrap();
        layout.stream(&record("t", 0, 5, 0, "")).unwrap();
        layout.stream(&record("t", 1, 2, 0, "")).unwrap();
        let error = layout.stream(&record("t", 0, 5, 0, "")).unwrap_err();
        assert_eq!(error.kind(), aqueduct_api::ErrorKind::Fatal);
        assert_eq!(
            error.record(),
            None,
            "a group that has trouble again and again is no record that never passes"
        );
    }
}
