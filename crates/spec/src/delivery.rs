//! `delivery:`, as far as a pair of ends can keep it: exactly once is never quietly weakened (invariant 10).

use aqueduct_api::catalog::{Duplicates, SinkConnector};

use crate::ends::Reading;
use crate::head::DeliveryHead;
use crate::pipeline::{Delivery, Named, SourceBlock};
use crate::tree::Node;

/// What the file asks for, in the way in which these ends do it; what they cannot do is reported.
pub(crate) fn resolve(
    reading: &mut Reading<'_>,
    root: &Node,
    asked: DeliveryHead,
    source: &SourceBlock,
    sink: &Named<dyn SinkConnector>,
) -> Delivery {
    let Some(entry) = root.entry("delivery").filter(|_| matches!(asked, DeliveryHead::ExactlyOnce)) else {
        return Delivery::AtLeastOnce;
    };
    let of_sink = sink.configured.traits();
    if let Duplicates::Absorbed(_) = of_sink.duplicates {
        return Delivery::ExactlyOnce { transactional: false };
    }
    let mut remedy = "leave `delivery` out: nothing is lost, and after a crash a record may come again";
    let says = match (source.connector.configured.traits().transactions, of_sink.transactions) {
        // The embedded brokers of `dev` know no transactions, and they may be two for one cluster that has two names.
        (Ok(_), Ok(_)) if reading.dev.is_some() => return Delivery::Rehearsed,
        (Ok(from), Ok(to)) if from == to => return Delivery::ExactlyOnce { transactional: true },
        (_, Err(why)) => format!("the sink `{}` cannot write each record exactly once: {why}", sink.kind),
        (Err(why), Ok(_)) => {
            format!(
                "the source `{}` cannot be read exactly once into the sink `{}`: {why}",
                source.connector.kind, sink.kind
            )
        }
        (Ok(from), Ok(to)) => {
            remedy = "write both in the same way if they are one, or leave `delivery` out: nothing is lost then, and after a \
                      crash a record may come again";
            format!("no transaction spans {from}, which is read, and {to}, which is written")
        }
    };
    reading.report.say(entry.value.place(entry.at), "delivery", says).remedy(remedy);
    Delivery::AtLeastOnce
}
