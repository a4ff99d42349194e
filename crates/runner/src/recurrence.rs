//! Whether a pipeline that is started again fails in the same way each time: then starting it once more would only write
//! again what it wrote before.

use std::collections::HashMap;

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
pub(crate) struct Recurrences(HashMap<String, u32>);

impl Recurrences {
    /// Takes a failure into account. `commits` grows when offsets are stored.
    pub(crate) fn is_stuck(&mut self, error: &Error, commits: u64) -> bool {
        let way = match (error.kind(), error.record()) {
            // A record that was passed does not come again, so what happens to others in between does not matter.
            (ErrorKind::Fatal, Some(record)) => format!("{record}: {}", error.says()),
            // The numbers of tasks, addresses and the like are others each time.
            (ErrorKind::Bug, _) => {
                format!("{commits} {}", error.to_string().replace(|c: char| c.is_ascii_digit(), ""))
            }
            _ => return false,
        };
        if self.0.len() >= WAYS_MAX {
            self.0.clear();
        }
        let times = self.0.entry(way).or_default();
        *times += 1;
        *times >= TIMES_MAX
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
        failures.position(|(error, commits)| recurrences.is_stuck(&error, commits)).map(|at| at + 1)
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
