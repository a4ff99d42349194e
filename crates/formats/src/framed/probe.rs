//! What `check --connect` can say about subjects before a record is there.

use std::path::Path;
use std::sync::Arc;

use aqueduct_api::registry::{Registering, Version};
use aqueduct_api::{
    Error, ErrorKind, Finding, FormatContext, Registered, Registry, Result, SchemaId, SchemaText, Side,
};

use super::{Framing, Language, SchemaChoice, Subject, registry_of, schema_file};

/// What the target of the file is in the registry: by its id, or a line for each topic's subject. Asked is only what records
/// will ask for too.
pub(crate) async fn probe<L: Language>(
    language: L,
    framing: Framing,
    side: Side,
    context: FormatContext,
    topics: Vec<Arc<str>>,
) -> Vec<Finding> {
    let Ok(registry) = registry_of(&context) else { return Vec::new() };
    let version = match &framing.target {
        SchemaChoice::Id(id) => return vec![by_id(&language, &*registry, *id).await],
        SchemaChoice::File(path) => return of_file(&language, &framing, side, &context, path, topics).await,
        SchemaChoice::Version(number) => Version::Number(*number),
        SchemaChoice::Own | SchemaChoice::Latest => Version::Latest,
    };
    if matches!(framing.subject, Subject::RecordName | Subject::TopicRecordName) {
        return vec![Finding::good(format!(
            "subjects of the {} are named after records, and not known yet",
            context.part
        ))];
    }
    let mut findings = Vec::new();
    for topic in topics {
        let subject = match framing.subject.name(&topic, context.part, || Ok(Arc::from(""))) {
            Ok(subject) => subject,
            Err(error) => {
                findings.push(error.into());
                continue;
            }
        };
        findings.push(match registry.version(&subject, version).await {
            Ok(found) => match readable(&language, &found) {
                Ok(()) => Finding::good(format!("subject `{subject}` has schema id {}", found.id)),
                Err(error) => error.with("subject", &subject).into(),
            },
            Err(error) if error.kind() == ErrorKind::BadRecord && framing.target == SchemaChoice::Own => {
                absent(&subject, side, framing.register)
            }
            Err(error) => error.with("subject", &subject).into(),
        });
    }
    findings
}

/// A subject that is not there, where records bring their own schemas.
fn absent(subject: &str, side: Side, register: bool) -> Finding {
    match (side, register) {
        (Side::Source, _) => Finding::warning(
            format!("subject `{subject}` is not there; records are read by the ids that they carry"),
            "see that whoever writes the topic uses this registry",
        ),
        (Side::Sink, true) => {
            Finding::good(format!("subject `{subject}` is not there yet and will be registered"))
        }
        (Side::Sink, false) => Finding::bad(
            format!("subject `{subject}` is not there, and `register` is false"),
            "register the schemas of the values there, or leave `register` out",
        ),
    }
}

fn readable<L: Language>(language: &L, found: &Registered) -> Result<()> {
    if found.schema.kind != L::KIND {
        let says = format!("schema id {} is of the language {}", found.id, found.schema.kind.name());
        return Err(Error::bad_record(says).remedy("name that format in the file"));
    }
    language.schema(&found.schema).map(drop)
}

async fn by_id<L: Language>(language: &L, registry: &dyn Registry, id: u32) -> Finding {
    let found = registry.schema(SchemaId::Number(id)).await;
    match found.and_then(|found| readable(language, &found)) {
        Ok(()) => Finding::good(format!("schema id {id} is there")),
        Err(error) => error.into(),
    }
}

/// A source asks the registry nothing about a schema that is in a file; a sink has it registered, or finds it.
async fn of_file<L: Language>(
    language: &L,
    framing: &Framing,
    side: Side,
    context: &FormatContext,
    path: &Path,
    topics: Vec<Arc<str>>,
) -> Vec<Finding> {
    let text = match schema_file(path, L::KIND).and_then(|text| language.schema(&text).map(|_| text)) {
        Ok(text) => text,
        Err(error) => return vec![error.with("path", path.display()).into()],
    };
    let (Side::Sink, Ok(registry)) = (side, registry_of(context)) else {
        return vec![Finding::good("the schema of the file can be read")];
    };
    let mut findings = Vec::new();
    for topic in topics {
        findings.push(match framing.subject.name(&topic, context.part, || language.record_name(&text)) {
            Ok(subject) => takes(&*registry, &subject, &text, framing.registering()).await,
            Err(error) => error.into(),
        });
    }
    findings
}

async fn takes(registry: &dyn Registry, subject: &str, schema: &SchemaText, how: Registering) -> Finding {
    match registry.id(subject, schema, Registering { allowed: false, ..how }).await {
        Ok(id) => return Finding::good(format!("subject `{subject}` has the schema of the file as id {id}")),
        Err(error) if error.kind() == ErrorKind::BadRecord && how.allowed => {}
        Err(error) => return error.with("subject", subject).into(),
    }
    match registry.version(subject, Version::Latest).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::BadRecord => return absent(subject, Side::Sink, true),
        Err(error) => return error.with("subject", subject).into(),
    }
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
