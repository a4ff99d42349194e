//! Records that come back: a sink that writes what its own source reads, pipelines that feed each other in a round, and two
//! pipelines in one group. There is nothing in the language that could end such a round: each record in it is written for
//! ever. Told from the files where they name everything, and from what the systems say where they do not.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use aqueduct_api::config::Piece;
use aqueduct_api::{Error, Reads, Writes};

use crate::pipeline::{OnBadRecord, Pipeline};
use crate::place::Place;
use crate::report::Report;
use crate::tree::Node;

/// No topic has a longer name: names that grow with each step and are read at this length are read at each.
const NAME_BYTES_MAX: usize = 249;
/// So many topics are followed: pipelines may be written so that they branch without end.
const TOPICS_MAX: usize = 100_000;
/// Where dead letters are configured.
const LETTERS: &str = "errors.on_bad_record.dead_letter";

/// What one pipeline reads and writes by name.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name.
    pub pipeline: Arc<str>,
    /// What its source reads.
    pub reads: Option<Reads>,
    /// What its sink writes.
    pub writes: Option<Writes>,
    /// Where its dead letters go.
    pub letters: Option<Writes>,
    /// Its source ends by itself, so that it carries nothing round for ever, unless it meets its own end again and again.
    pub finite: bool,
}

/// A mistake, and where it is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Of the flows that were looked at.
    pub flow: usize,
    /// At which of its ends.
    pub end: End,
    /// What is wrong.
    pub says: String,
    /// What to do about it.
    pub remedy: String,
}

/// An end of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What the sink writes.
    Sink,
    /// Where dead letters go.
    Letters,
    /// As whom the source reads.
    Group,
}

impl Flow {
    /// As the file says.
    pub fn of(pipeline: &Pipeline) -> Self {
        let letters = match &pipeline.errors.on_bad_record {
            OnBadRecord::DeadLetter(letter) => letter.sink.configured.writes(),
            _ => None,
        };
        Self {
            pipeline: Arc::clone(&pipeline.name),
            reads: pipeline.source.connector.configured.reads(&pipeline.name),
            writes: pipeline.sink.connector.configured.writes(),
            letters,
            finite: pipeline.source.connector.configured.traits().finite,
        }
    }

    /// The first of the topics that come back for ever, and as what. One that is read again a few times and then leaves for a
    /// topic that is not read is none of them.
    fn comes_back(&self, writes: Option<&Writes>) -> Option<(String, String)> {
        let (reads, writes) = (self.reads.as_ref()?, writes?);
        if reads.system.is_disjoint(&writes.system) {
            return None;
        }
        let back = |topic: &String| {
            let first = writes.topic_of(topic)?;
            let mut to = first.clone();
            while reads.takes(&to) {
                let next = writes.topic_of(&to)?;
                // A name that contains the one before it stays the same, or grows.
                if next == to || next.len() > NAME_BYTES_MAX {
                    return Some((topic.clone(), first));
                }
                to = next;
            }
            None
        };
        let constant = || {
            let to = writes.topic.constant().filter(|to| reads.takes(to))?;
            Some(("its records".to_owned(), to.to_owned()))
        };
        // Whatever it reads goes where it came from.
        let same = || {
            let same = reads.pattern.is_some() && writes.topic.pieces() == [Piece::Topic];
            same.then(|| ("each topic".to_owned(), "itself".to_owned()))
        };
        reads.named.iter().find_map(back).or_else(constant).or_else(same)
    }
}

/// All mistakes of these pipelines, which run together.
pub fn find(flows: &[Flow]) -> Vec<Loop> {
    let mut found = Vec::new();
    for (flow, it) in flows.iter().enumerate() {
        if let Some((from, to)) = it.comes_back(it.writes.as_ref()) {
            found.push(Loop {
                flow,
                end: End::Sink,
                says: written_back(&from, &to),
                remedy: apart(it, it.writes.as_ref()),
            });
        }
        if let Some((_, to)) = it.comes_back(it.letters.as_ref()) {
            let says = format!("the pipeline reads `{to}` itself, so dead letters would come back for ever");
            let remedy = apart(it, it.letters.as_ref());
            found.push(Loop { flow, end: End::Letters, says, remedy });
        }
    }
    let alone: HashSet<usize> =
        found.iter().filter(|found| found.end == End::Sink).map(|found| found.flow).collect();
    found.extend(Rounds::new(flows, &alone).find());
    for (flow, it) in flows.iter().enumerate() {
        let shared = flows[..flow].iter().find_map(|other| Some((other, share_a_group(other, it)?)));
        if let (Some((other, why)), Some(group)) =
            (shared, it.reads.as_ref().and_then(|it| it.group.as_ref()))
        {
            let says = format!(
                "pipelines `{}` and `{}` read as one group, `{group}`: {why}",
                other.pipeline, it.pipeline
            );
            let remedy = "give each a group of its own; left out, it is the pipeline's name".to_owned();
            found.push(Loop { flow, end: End::Group, says, remedy });
        }
    }
    found
}

/// Looks out for topics whose records would come back, where a pattern takes what nobody has named. To be asked about each
/// topic before its first record is passed on.
pub fn guard(pipeline: &Pipeline) -> Option<impl Fn(&str) -> Option<Error> + Send + 'static> {
    let flow = Flow::of(pipeline);
    let watched = |flow: &Flow| {
        let (reads, writes) = (flow.reads.as_ref()?, flow.writes.as_ref()?);
        let open = reads.pattern.is_some() && writes.topic.constant().is_none() && !writes.needs_record();
        (open && !reads.system.is_disjoint(&writes.system)).then_some(())
    };
    watched(&flow)?;
    Some(move |topic: &str| {
        let named = |reads: &Reads| Reads { named: vec![topic.to_owned()], ..reads.clone() };
        let met = Flow { reads: flow.reads.as_ref().map(named), ..flow.clone() };
        let (from, to) = met.comes_back(met.writes.as_ref())?;
        Some(Error::config(written_back(&from, &to)).remedy(apart(&met, met.writes.as_ref())))
    })
}

fn written_back(from: &str, to: &str) -> String {
    match (from, to) {
        ("each topic", _) => {
            "the sink writes each record to the topic that it was read from: it would come back for ever"
                .to_owned()
        }
        ("its records", to) => {
            format!("the sink writes `{to}`, which the source reads: every record would come back for ever")
        }
        (from, to) => format!(
            "the sink writes records of `{from}` to `{to}`, which the source reads: they would come back for ever"
        ),
    }
}

fn apart(flow: &Flow, writes: Option<&Writes>) -> String {
    if writes.is_some_and(|writes| writes.option == "path") {
        return "name a file that the source does not read".to_owned();
    }
    let pattern = flow.reads.as_ref().is_some_and(|reads| reads.pattern.is_some());
    let remedy = "name a topic that the source does not read";
    if pattern {
        format!("{remedy}, or leave it out of the pattern with `except`")
    } else {
        remedy.to_owned()
    }
}

/// Why two pipelines may not read as one group, if they do and may not.
fn share_a_group(one: &Flow, other: &Flow) -> Option<&'static str> {
    let (one, other) = (one.reads.as_ref()?, other.reads.as_ref()?);
    if one.group.is_none() || one.group != other.group || one.system.is_disjoint(&other.system) {
        return None;
    }
    let (wrong, why) = match (one.partitions.is_empty(), other.partitions.is_empty()) {
        (true, true) => (share_a_topic(one, other), "of what both read, each gets a part"),
        // Offsets of partitions that are named one by one do not get in each other's way.
        (false, false) => {
            (!one.partitions.is_disjoint(&other.partitions), "both store offsets of the same partitions")
        }
        _ => (true, "a group with members takes no offsets from one that names its partitions"),
    };
    wrong.then_some(why)
}

/// Members of one group with topics of their own get all of them. Of two patterns nobody knows what they both match.
fn share_a_topic(one: &Reads, other: &Reads) -> bool {
    let takes = |one: &Reads, other: &Reads| other.named.iter().any(|topic| one.takes(topic));
    takes(one, other) || takes(other, one) || (one.pattern.is_some() && other.pattern.is_some())
}

/// A topic of a system.
type Stop = (usize, String);

/// Follows records from topic to topic.
struct Rounds<'a> {
    flows: &'a [Flow],
    /// Those that need no other to go round.
    alone: &'a HashSet<usize>,
    systems: Vec<BTreeSet<String>>,
    /// Nothing that begins there comes back.
    sound: HashSet<Stop>,
    /// The way so far: which pipeline brought a record to which topic.
    way: Vec<(Option<usize>, Stop)>,
    told: HashSet<BTreeSet<usize>>,
    /// Those in a round in which names grow; they are told once, since no two names in it are the same.
    growing: HashSet<usize>,
    found: Vec<Loop>,
}

impl<'a> Rounds<'a> {
    fn new(flows: &'a [Flow], alone: &'a HashSet<usize>) -> Self {
        let mut systems: Vec<BTreeSet<String>> = Vec::new();
        let reads = flows.iter().filter_map(|flow| flow.reads.as_ref()).map(|reads| &reads.system);
        let writes = flows.iter().filter_map(|flow| flow.writes.as_ref()).map(|writes| &writes.system);
        for system in reads.chain(writes) {
            let (mut same, apart): (Vec<_>, Vec<_>) =
                systems.into_iter().partition(|known| !known.is_disjoint(system));
            same.push(system.clone());
            systems = apart;
            systems.push(same.into_iter().flatten().collect());
        }
        let (sound, way, told, growing, found) = Default::default();
        Self { flows, alone, systems, sound, way, told, growing, found }
    }

    fn system(&self, addresses: &BTreeSet<String>) -> usize {
        self.systems.iter().position(|system| !system.is_disjoint(addresses)).unwrap_or(usize::MAX)
    }

    fn find(mut self) -> Vec<Loop> {
        let mut begin: Vec<Stop> = Vec::new();
        for Flow { reads, writes, .. } in self.flows {
            if let Some(reads) = reads {
                let system = self.system(&reads.system);
                begin.extend(reads.named.iter().map(|topic| (system, topic.clone())));
            }
            let constant =
                writes.as_ref().and_then(|it| Some((self.system(&it.system), it.topic.constant()?)));
            begin.extend(constant.map(|(system, topic)| (system, topic.to_owned())));
        }
        for stop in begin {
            self.follow(None, stop);
        }
        self.found
    }

    fn follow(&mut self, by: Option<usize>, stop: Stop) {
        if self.sound.contains(&stop) || self.sound.len() >= TOPICS_MAX {
            return;
        }
        let again = self.way.iter().position(|(_, before)| *before == stop);
        self.way.push((by, stop.clone()));
        match again {
            Some(at) => self.tell(at + 1),
            None if stop.1.len() > NAME_BYTES_MAX => self.tell_growth(),
            None => {
                for (flow, next) in self.onward(&stop) {
                    self.follow(Some(flow), next);
                }
                self.sound.insert(stop);
            }
        }
        self.way.pop();
    }

    /// Where records of a topic go, and by which pipelines.
    fn onward(&self, (system, topic): &Stop) -> Vec<(usize, Stop)> {
        let step = |(index, flow): (usize, &Flow)| {
            let (reads, writes) = (flow.reads.as_ref()?, flow.writes.as_ref()?);
            let here = self.system(&reads.system) == *system && reads.takes(topic);
            let over = self.alone.contains(&index) || self.growing.contains(&index);
            let turns = here && !flow.finite && !over;
            let to = writes.topic_of(topic).filter(|_| turns)?;
            Some((index, (self.system(&writes.system), to)))
        };
        self.flows.iter().enumerate().filter_map(step).collect()
    }

    /// The way has come to a name that no topic has. It went round if its last pipeline is on it before; a chain of others
    /// is as long as somebody wrote it.
    fn tell_growth(&mut self) {
        let Some(((last, _), before)) = self.way.split_last() else { return };
        let Some(at) = before.iter().rposition(|(by, _)| by == last) else { return };
        let round: HashSet<usize> = self.way[at..].iter().filter_map(|(by, _)| *by).collect();
        let outside = |by: &Option<usize>| by.is_none_or(|by| !round.contains(&by));
        let from = self.way.iter().rposition(|(by, _)| outside(by)).map_or(0, |at| at + 1);
        self.growing.extend(round);
        self.tell(from);
    }

    /// The way from there on is a round.
    fn tell(&mut self, from: usize) {
        let steps: Vec<(usize, &str)> =
            self.way[from..].iter().filter_map(|(by, (_, topic))| Some(((*by)?, topic.as_str()))).collect();
        let flows: BTreeSet<usize> = steps.iter().map(|(flow, _)| *flow).collect();
        let Some(last) = flows.last().copied() else { return };
        if !self.told.insert(flows.clone()) {
            return;
        }
        let words: Vec<String> = steps
            .iter()
            .take(flows.len().max(2))
            .map(|(flow, topic)| format!("`{}` writes `{topic}`", self.flows[*flow].pipeline))
            .collect();
        let says = format!("records go round for ever: {}, and so on", words.join(", "));
        let remedy = "let one of them read or write another topic".to_owned();
        self.found.push(Loop { flow: last, end: End::Sink, says, remedy });
    }
}

/// Reports the mistakes of sound pipelines at their places; answers which of them have one.
pub(crate) fn report(sound: &[(Pipeline, Node)], report: &mut Report) -> HashSet<usize> {
    let flows: Vec<Flow> = sound.iter().map(|(pipeline, _)| Flow::of(pipeline)).collect();
    let found = find(&flows);
    for Loop { flow, end, says, remedy } in &found {
        let (pipeline, root) = &sound[*flow];
        let (at, path) = place(pipeline, &flows[*flow], root, *end);
        report.say(at, &path, says).remedy(remedy);
    }
    found.into_iter().map(|found| found.flow).collect()
}

fn place(pipeline: &Pipeline, flow: &Flow, root: &Node, end: End) -> (Place, String) {
    let (block, options, path) = match end {
        End::Sink => {
            let kind = pipeline.sink.connector.kind;
            let option = flow.writes.as_ref().map_or("topic", |writes| writes.option);
            (root.get("sink").and_then(|sink| sink.get(kind)), vec![option], format!("sink.{kind}"))
        }
        End::Letters => {
            let policy = root.get("errors").and_then(|errors| errors.get("on_bad_record"));
            (policy.and_then(|it| it.get("dead_letter")), vec!["topic", "file"], LETTERS.to_owned())
        }
        End::Group => {
            let kind = pipeline.source.connector.kind;
            (root.get("source").and_then(|it| it.get(kind)), vec!["group"], format!("source.{kind}"))
        }
    };
    let entry = options.iter().find_map(|option| block?.entry(option));
    match entry.or_else(|| root.entry("pipeline")) {
        Some(entry) if entry.key == "pipeline" => (entry.value.place(entry.at), "pipeline".to_owned()),
        Some(entry) => (entry.value.place(entry.at), format!("{path}.{}", entry.key)),
        None => (root.at, path),
    }
}

#[cfg(test)]
mod tests;
