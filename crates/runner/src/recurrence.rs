//! Whether a pipeline that is started again fails in the same way each time: then starting it once more would only write
//! again what it wrote before.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::{Error, ErrorKind};

/// So many runs may fail in one way.
const TIMES_MAX: u32 = 3;
/// Ways that are remembered; more of them show that it is never the same one.
const WAYS_MAX: usize = 100;
/// What is said of a pipeline that is stuck, behind its error.
pub(crate) const SAYS: &str = "; three runs ended in this way, so it is not started again";

/// How often a pipeline failed in which way. Only what says where it stands counts: an outage names no record, however long
/// it lasts, and gets its next start.
#[derive(Default)]
pub(crate) struct Recurrences(HashMap<String, Way>);

#[derive(Default)]
struct Way {
    times: u32,
    /// What was stored of the record's partition when it was last met.
    stored: Option<Arc<str>>,
}

impl Recurrences {
    /// Takes a failure into account. A run that was `steady` shows that what failed before it has passed; so do offsets that
    /// moved in between: `commits` grows when any are stored, and `stored` says them for each partition.
    pub(crate) fn is_stuck(
        &mut self,
        error: &Error,
        steady: bool,
        commits: u64,
        stored: impl Fn(&str) -> Option<Arc<str>>,
    ) -> bool {
        if steady {
            self.0.clear();
        }
        let (way, stored) = match (error.kind(), error.record()) {
            // What happens to others in between does not matter.
            (ErrorKind::Fatal, Some(record)) => {
                let stored = record.rsplit_once('@').and_then(|(partition, _)| stored(partition));
                (format!("{record}: {}", error.says()), stored)
            }
            // The numbers of tasks, addresses and the like are others each time.
            (ErrorKind::Bug, _) => {
                let says = error.to_string().replace(|c: char| c.is_ascii_digit(), "");
                (format!("{commits} {says}"), None)
            }
            _ => return false,
        };
        if self.0.len() >= WAYS_MAX {
            self.0.clear();
        }
        let way = self.0.entry(way).or_default();
        // Up to a record that never passes, offsets move a few times at most, and beyond it never.
        if stored.is_some() && way.stored.is_some() && stored != way.stored {
            way.times = 0;
        }
        way.stored = stored.or(way.stored.take());
        way.times += 1;
        way.times >= TIMES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Error {
        Error::fatal("went back").with("topic", "a").with("partition", 0).with("offset", offset)
    }

    /// After which of these failures the pipeline stays down, from 1.
    fn stuck_after(failures: impl IntoIterator<Item = (Error, u64)>) -> Option<usize> {
        let mut recurrences = Recurrences::default();
        let mut failures = failures.into_iter();
        let mut stuck = |(error, commits)| recurrences.is_stuck(&error, false, commits, |_| None);
        failures.position(&mut stuck).map(|at| at + 1)
    }

    /// The same, of runs that left these offsets of `a/0`, or none, and were steady or not.
    fn stuck_after_runs(runs: &[(&Error, bool, Option<&str>)]) -> Option<usize> {
        let mut recurrences = Recurrences::default();
        let stuck = |(error, steady, stored): &(&Error, bool, Option<&str>)| {
            let stored = |partition: &str| stored.filter(|_| partition == "a/0").map(Arc::from);
            recurrences.is_stuck(error, *steady, 0, stored)
        };
        runs.iter().position(stuck).map(|at| at + 1)
    }

    #[test]
    fn what_a_steady_run_or_stored_offsets_lie_between_does_not_count() {
        let (record, panic) = (at(7), Error::bug("panicked"));
        for error in [&record, &panic] {
            // Months on a pipeline that has nothing to do.
            assert_eq!(stuck_after_runs(&[(error, true, None); 9]), None);
            let runs =
                [(error, false, None), (error, false, None), (error, true, None), (error, false, None)];
            assert_eq!(stuck_after_runs(&runs), None);
            assert_eq!(stuck_after_runs(&[runs[0], runs[1], runs[2], runs[0], runs[0]]), Some(5));
        }
        // Read anew each time, and passed in between.
        let passed: Vec<String> = (0..9).map(|run| (8 + run).to_string()).collect();
        let passed: Vec<_> = passed.iter().map(|stored| (&record, false, Some(stored.as_str()))).collect();
        assert_eq!(stuck_after_runs(&passed), None);
        // Up to the record and no further; a run that ends before it knows what is stored changes nothing.
        let before = |stored| (&record, false, stored);
        let runs = [None, Some("3"), Some("7"), None, Some("7"), Some("7")].map(before);
        assert_eq!(stuck_after_runs(&runs), Some(5));
        assert_eq!(stuck_after_runs(&[before(Some("7")); 9]), Some(3));
    }

    #[test]
    fn the_same_record_three_times_is_enough_whatever_else_happens() {
        assert_eq!(stuck_after((0..9).map(|_| (at(7), 0))), Some(3));
        // Two poisoned partitions by turns, while others move on.
        assert_eq!(stuck_after((0..9).map(|run| (at(run as i64 % 2), run))), Some(5));
        assert_eq!(stuck_after((0..999).map(|run| (at(run), 0))), None, "another record each time");
        // The same record for another reason.
        let other = || at(7).caused_by(std::io::Error::other("x"));
        assert_eq!(stuck_after([(at(7), 0), (Error::fatal("no"), 0), (at(7), 0), (other(), 0)]), Some(4));
    }

    #[test]
    fn an_outage_is_never_given_up_on() {
        let denied = || Error::fatal("may not write").with("bucket", "lake");
        assert_eq!(stuck_after((0..999).map(|_| (denied(), 0))), None);
        assert_eq!(stuck_after((0..999).map(|_| (Error::transient("away"), 0))), None);
    }

    #[test]
    fn a_panic_is_given_up_on_unless_offsets_moved() {
        let panic = |task: u64| Error::bug("panicked").caused_by(format!("task {task}: index out of bounds"));
        assert_eq!(stuck_after((0..9).map(|run| (panic(run), 5))), Some(3));
        assert_eq!(stuck_after((0..999).map(|run| (panic(run), run))), None);
        assert_eq!(stuck_after([(panic(1), 0), (panic(1), 1), (panic(1), 1), (panic(1), 1)]), Some(4));
    }
}
