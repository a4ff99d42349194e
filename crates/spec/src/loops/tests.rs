//! What comes back, and what only looks like it.

#![allow(clippy::unwrap_used)]

use super::*;

fn at(brokers: &str) -> BTreeSet<String> {
    brokers.split(',').map(str::to_owned).collect()
}

/// From these topics of a cluster to a topic of another one.
fn flow(name: &str, (from, topics): (&str, &[&str]), (to, topic): (&str, &str)) -> Flow {
    let named = topics.iter().map(ToString::to_string).collect();
    let (group, partitions) = (Some(name.to_owned()), BTreeSet::new());
    Flow {
        pipeline: name.into(),
        reads: Some(Reads { system: at(from), named, pattern: None, group, partitions }),
        writes: topic.parse().ok().map(|topic| Writes { system: at(to), topic, option: "topic" }),
        letters: None,
        finite: false,
    }
}

fn told(flows: &[Flow]) -> Vec<(usize, End)> {
    find(flows).into_iter().map(|found| (found.flow, found.end)).collect()
}

#[test]
fn what_ends_is_no_loop() {
    let chain = [
        flow("a", ("x", &["orders"]), ("x", "orders.2")),
        flow("b", ("x", &["orders.2", "other"]), ("x", "{topic}.3")),
        flow("c", ("x", &["orders.2.3"]), ("x", "done")),
        // The other way, for other topics.
        flow("d", ("x", &["done"]), ("x", "other")),
    ];
    assert_eq!(told(&chain), []);
    assert_eq!(told(&[flow("mirror", ("x", &["orders"]), ("y", "{topic}"))]), []);
    assert_eq!(told(&[flow("by-key", ("x", &["orders"]), ("x", "{key}"))]), []);
}

#[test]
fn what_is_read_again_and_then_leaves_is_no_loop() {
    // One pass of retries: nobody reads `orders.retry.retry`.
    let retry = flow("retry", ("x", &["orders", "orders.retry"]), ("x", "{topic}.retry"));
    assert_eq!(told(std::slice::from_ref(&retry)), []);
    let open = |pattern: &'static str| {
        let mut flow = retry.clone();
        let reads = flow.reads.as_mut().unwrap();
        reads.pattern = Some(Arc::new(move |topic| topic.starts_with(pattern)));
        told(&[flow])
    };
    assert_eq!(open("payments"), []);
    assert_eq!(open("orders"), [(0, End::Sink)]);
    let mut letters = retry;
    letters.letters = letters.writes.take();
    assert_eq!(told(&[letters]), []);
}

#[test]
fn a_chain_is_as_long_as_it_is_written() {
    let names: Vec<String> = (0..200).map(|at| format!("step-{at}")).collect();
    let mut flows: Vec<Flow> = names
        .windows(2)
        .map(|pair| flow(&pair[0], ("x", &[pair[0].as_str()]), ("x", pair[1].as_str())))
        .collect();
    assert_eq!(told(&flows), []);
    flows.push(flow("back", ("x", &["step-199"]), ("x", "step-0")));
    assert_eq!(told(&flows), [(199, End::Sink)]);
    // Behind a chain of others, two let a name grow; all others are sound.
    let mut grows = ["a.{topic}", "b.{topic}"].map(|to| flow(to, ("x", &[]), ("x", to)));
    for (flow, taken) in grows.iter_mut().zip(["b.", "a."]) {
        let takes = move |topic: &str| topic.starts_with(taken) || topic == "step-199";
        flow.reads.as_mut().unwrap().pattern = Some(Arc::new(takes));
    }
    flows.truncate(199);
    flows.extend(grows);
    assert_eq!(told(&flows), [(200, End::Sink)]);
}

/// Each of these reads what all of them write, so that there are two to the power of 249 names.
#[test]
fn what_branches_without_end_is_told_soon() {
    let mut flows: Vec<Flow> = ["a{topic}", "b{topic}", "c{topic}"]
        .into_iter()
        .map(|to| flow(to, ("x", &[]), ("x", to)))
        .chain([flow("first", ("y", &["other"]), ("x", "first"))])
        .collect();
    for flow in &mut flows[..3] {
        flow.reads.as_mut().unwrap().pattern = Some(Arc::new(|topic| topic.ends_with("first")));
    }
    assert!(!told(&flows).is_empty());
}

#[test]
fn clusters_are_one_when_they_share_an_address() {
    assert_eq!(told(&[flow("a", ("x,y", &["orders"]), ("y,z", "{topic}"))]), [(0, End::Sink)]);
    // One by way of another: x and z are never named together.
    let both = [
        flow("a", ("x,y", &["orders"]), ("far", "{topic}")),
        flow("b", ("far", &["orders"]), ("z", "orders")),
        flow("c", ("y,z", &["unrelated"]), ("far", "unrelated")),
    ];
    assert_eq!(told(&both), [(1, End::Sink)]);
    assert_eq!(told(&both[..2]), []);
}

#[test]
fn a_group_is_that_of_one_pipeline_unless_its_partitions_are_named_apart() {
    let pair = |brokers: &str, one: &[i32], other: &[i32]| {
        let mut flows =
            [flow("a", ("x", &["orders"]), ("far", "a")), flow("b", (brokers, &["orders"]), ("far", "b"))];
        for (flow, partitions) in flows.iter_mut().zip([one, other]) {
            let Some(reads) = &mut flow.reads else { continue };
            reads.group = Some("shared".to_owned());
            reads.partitions = partitions.iter().map(|partition| ("orders".to_owned(), *partition)).collect();
        }
        told(&flows)
    };
    assert_eq!(pair("x", &[], &[]), [(1, End::Group)]);
    assert_eq!(pair("y", &[], &[]), [], "on another cluster");
    assert_eq!(pair("x", &[0, 1], &[2]), []);
    assert_eq!(pair("x", &[0, 1], &[1]), [(1, End::Group)]);
    assert_eq!(pair("x", &[0], &[]), [(1, End::Group)], "one that joins keeps the other from committing");
}

#[test]
fn members_of_one_group_with_topics_of_their_own_are_no_mistake() {
    let pair = |one: (&[&str], Option<&'static str>), other: (&[&str], Option<&'static str>)| {
        let mut flows = [one, other].map(|(topics, pattern)| {
            let mut flow = flow("a", ("x", topics), ("far", "a"));
            let reads = flow.reads.as_mut().unwrap();
            reads.pattern = pattern.map(|pattern| -> aqueduct_api::TakesTopic {
                Arc::new(move |topic| topic.starts_with(pattern))
            });
            flow
        });
        let both = told(&flows);
        flows.reverse();
        assert_eq!(told(&flows), both, "whichever comes first");
        both
    };
    assert_eq!(pair((&["orders"], None), (&["payments"], None)), []);
    assert_eq!(pair((&["orders", "x"], None), (&["payments", "x"], None)), [(1, End::Group)]);
    assert_eq!(pair((&["orders"], None), (&[], Some("pay"))), []);
    assert_eq!(pair((&["orders"], None), (&[], Some("ord"))), [(1, End::Group)]);
    assert_eq!(pair((&[], Some("pay")), (&[], Some("ord"))), [(1, End::Group)], "nobody can tell");
}

#[test]
fn a_source_that_ends_carries_nothing_round_unless_it_writes_what_it_reads() {
    let mut both = [flow("a", ("x", &["one"]), ("x", "two")), flow("b", ("x", &["two"]), ("x", "one"))];
    assert_eq!(told(&both), [(1, End::Sink)]);
    both[0].finite = true;
    assert_eq!(told(&both), []);
    let alone = Flow { finite: true, ..flow("a", ("x", &["one"]), ("x", "one")) };
    assert_eq!(told(&[alone]), [(0, End::Sink)]);
}
