//! What `check --connect` can say about subjects before a record is there.

use std::sync::Arc;

use aqueduct_api::registry::Version;
use aqueduct_api::{ErrorKind, Finding, FormatContext, Registry, SchemaText, Side};

use super::{Framing, Language, Subject, Target, registry_of, schema_file};

/// A line for each topic: whether its subject is there, readable, and takes what would be registered.
pub(crate) async fn probe<L: Language>(
    language: L,
    framing: Framing,
    side: Side,
    context: FormatContext,
    topics: Vec<Arc<str>>,
) -> Vec<Finding> {
    let Ok(registry) = registry_of(&context) else { return Vec::new() };
    let by_record = matches!(framing.subject, Subject::RecordName | Subject::TopicRecordName);
    let file = match &framing.target {
        Target::File(path) => match schema_file(path, L::KIND) {
            Ok(text) => Some(text),
            Err(error) => return vec![error.into()],
        },
        _ => None,
    };
    if by_record && file.is_none() {
        return vec![Finding::good(format!(
            "subjects of the {} are named after records, and not known yet",
            context.part
        ))];
    }
    let version = match framing.target {
        Target::Version(number) => Version::Number(number),
        _ => Version::Latest,
    };
    let mut findings = Vec::new();
    for topic in topics {
        let name = || file.as_ref().map_or(Ok(Arc::from("")), |text| language.record_name(text));
        let subject = match framing.subject.name(&topic, context.part, name) {
            Ok(subject) => subject,
            Err(error) => {
                findings.push(error.into());
                continue;
            }
        };
        findings.push(match (registry.version(&subject, version).await, &file) {
            (Ok(_), Some(file)) if side == Side::Sink => takes(&*registry, &subject, file).await,
            (Ok(found), _) => match language.schema(&found.schema) {
                Ok(_) => Finding::good(format!("subject `{subject}` has schema id {}", found.id)),
                Err(error) => error.with("subject", &subject).into(),
            },
            (Err(error), _)
                if error.kind() == ErrorKind::BadRecord && side == Side::Sink && framing.register =>
            {
                Finding::good(format!("subject `{subject}` is not there yet and will be registered"))
            }
            (Err(error), _) => error.with("subject", &subject).into(),
        });
    }
    findings
}

async fn takes(registry: &dyn Registry, subject: &str, schema: &SchemaText) -> Finding {
    match registry.incompatibilities(subject, schema).await {
        Ok(none) if none.is_empty() => {
            Finding::good(format!("subject `{subject}` takes the schema of the file"))
        }
        Ok(words) => {
            let says = format!("subject `{subject}` refuses the schema of the file: {}", words.join("; "));
            Finding::bad(says, "change the schema so that it is compatible, or the rule of the subject")
        }
        Err(error) => error.with("subject", subject).into(),
    }
}
