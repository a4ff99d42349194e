//! Requests to answers: the paths of Confluent's Schema Registry.
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::document::{Document, Language};
use super::level::Level;
use super::refusal::Refusal;
use super::store::{Draft, Shown, Store, Version, Which};

/// A request, taken apart.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
}

type Answer = Result<Json, Refusal>;

/// The body of the answer. Where a schema alone was asked for it is that text, in all other cases JSON.
pub(crate) fn answer(store: &mut Store, request: &Request<'_>) -> Result<String, Refusal> {
    let path: Vec<String> =
        request.path.split('/').filter(|part| !part.is_empty()).map(|part| decoded(part, false)).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let query = Query::read(request.query);
    let text = match (request.method, &path[..]) {
        ("GET", ["schemas", "ids", id, "schema"]) => Some(store.by_id(id)?.1),
        ("GET", ["subjects", subject, "versions", version, "schema"]) => {
            Some(store.version(subject, Which::named(version)?, query.shown())?.1)
        }
        _ => None,
    };
    match text {
        Some(document) => Ok(document.text.clone()),
        None => Ok(json_for(store, request, &path, &query)?.to_string()),
    }
}

fn json_for(store: &mut Store, request: &Request<'_>, path: &[&str], query: &Query) -> Answer {
    let body = request.body;
    match (request.method, path) {
        ("GET", []) => Ok(json!({})),
        ("GET", ["contexts"]) => Ok(json!(["."])),
        ("GET", ["subjects"]) => {
            let named = |subject: &&str| subject.starts_with(query.prefix());
            Ok(query.page(store.subjects(query.shown()).filter(named)))
        }
        ("POST", ["subjects", subject]) => lookup(store, subject, body, query),
        ("DELETE", ["subjects", subject]) => {
            store.delete_subject(subject, query.flag("permanent")).map(Json::from)
        }
        ("GET", ["subjects", subject, "versions"]) => {
            let versions = store.versions(subject, query.shown())?;
            Ok(query.page(versions.iter().map(|version| version.number)))
        }
        ("POST", ["subjects", subject, "versions"]) => register(store, subject, body),
        ("GET", ["subjects", subject, "versions", version]) => {
            let (version, document) = store.version(subject, Which::named(version)?, query.shown())?;
            Ok(whole(subject, version, document))
        }
        ("DELETE", ["subjects", subject, "versions", version]) => {
            let permanent = query.flag("permanent");
            store.delete_version(subject, Which::named(version)?, permanent).map(Json::from)
        }
        ("GET", ["subjects", subject, "versions", version, "referencedby"]) => {
            let (version, _) = store.version(subject, Which::named(version)?, Shown::All)?;
            Ok(Json::from(store.referring_to(subject, version.number)))
        }
        ("GET", ["schemas", rest @ ..]) => schemas(store, rest, query),
        ("POST", ["compatibility", "subjects", subject, "versions", rest @ ..]) if rest.len() < 2 => {
            let which = rest.first().map(|version| Which::named(version)).transpose()?;
            compatibility(store, subject, which, body, query)
        }
        (method, ["config", rest @ ..]) if rest.len() < 2 => {
            config(store, method, rest.first().copied(), body, query)
        }
        // There is one mode, and it is not changed: import and read-only are for real registries.
        ("GET", ["mode"]) => Ok(json!({ "mode": "READWRITE" })),
        ("GET", ["mode", _]) if query.flag("defaultToGlobal") => Ok(json!({ "mode": "READWRITE" })),
        ("GET", ["mode", subject]) => Err(Refusal::no_mode(subject)),
        (_, [] | ["subjects" | "mode" | "contexts" | "compatibility", ..]) => Err(Refusal::no_such_method()),
        _ => Err(Refusal::no_such_page()),
    }
}

fn schemas(store: &Store, path: &[&str], query: &Query) -> Answer {
    let of_id = |id: u32| store.everywhere(query.shown()).filter(move |(_, version, _)| version.id == id);
    match path {
        [] => {
            let is_latest = |subject: &str, version: &Version| {
                let latest = store.version(subject, Which::Latest, query.shown());
                latest.is_ok_and(|(latest, _)| latest.number == version.number)
            };
            let asked_for = |(subject, version, _): &(&str, Version, &Document)| {
                subject.starts_with(query.prefix())
                    && (!query.flag("latestOnly") || is_latest(subject, version))
            };
            let found = store.everywhere(query.shown()).filter(asked_for);
            Ok(query.page(found.map(|(subject, version, document)| whole(subject, version, document))))
        }
        ["types"] => Ok(Language::ALL.map(Language::name).into_iter().collect()),
        ["ids", id] => {
            let (_, document) = store.by_id(id)?;
            let mut body = contents(document);
            if query.flag("fetchMaxId") {
                body["maxId"] = store.id_max().into();
            }
            Ok(body)
        }
        ["ids", id, "subjects"] => {
            let mut subjects: Vec<&str> = of_id(store.by_id(id)?.0).map(|(subject, ..)| subject).collect();
            subjects.dedup();
            Ok(query.page(subjects))
        }
        ["ids", id, "versions"] => {
            let version = |(subject, version, _): (&str, Version, &Document)| json!({ "subject": subject, "version": version.number });
            Ok(query.page(of_id(store.by_id(id)?.0).map(version)))
        }
        ["guids", guid] => Ok(contents(store.by_guid(guid)?.1)),
        ["guids", guid, "ids"] => Ok(json!([{ "context": ".", "id": store.by_guid(guid)?.0 }])),
        _ => Err(Refusal::no_such_page()),
    }
}

fn register(store: &mut Store, subject: &str, body: &[u8]) -> Answer {
    let sent = Sent::read(body)?;
    if sent.id.is_some_and(|id| id > 0) {
        return Err(Refusal::not_in_import_mode(subject));
    }
    let document = store.read(sent.draft()?)?;
    let version = store.register(subject, document)?;
    let (_, document) = store.version(subject, Which::Number(version.number), Shown::Alive)?;
    let mut body = whole(subject, version, document);
    body.as_object_mut().and_then(|body| body.shift_remove("subject"));
    Ok(body)
}

fn lookup(store: &Store, subject: &str, body: &[u8], query: &Query) -> Answer {
    // That there is no such subject is said before anything about the schema.
    store.versions(subject, query.shown())?;
    let document = store.read(Sent::read(body)?.draft()?)?;
    let (version, known) = store.find(subject, &document, query.shown())?;
    Ok(whole(subject, version, known))
}

fn compatibility(store: &Store, subject: &str, which: Option<Which>, body: &[u8], query: &Query) -> Answer {
    let document = store.read(Sent::read(body)?.draft()?)?;
    let objections = store.objections(subject, &document, which)?;
    let mut body = json!({ "is_compatible": objections.is_empty() });
    if query.flag("verbose") {
        body["messages"] = objections.into();
    }
    Ok(body)
}

fn config(store: &mut Store, method: &str, subject: Option<&str>, body: &[u8], query: &Query) -> Answer {
    let shown = |level: Level| json!({ "compatibilityLevel": level.name() });
    match (method, subject) {
        ("GET", Some(subject)) => {
            let global = if query.flag("defaultToGlobal") { store.level(None) } else { None };
            let level = store.level(Some(subject)).or(global);
            level.map(shown).ok_or_else(|| Refusal::no_level(subject))
        }
        ("GET", None) => store.level(None).map(shown).ok_or_else(Refusal::no_such_page),
        ("PUT", subject) => {
            let wanted: Json =
                serde_json::from_slice(body).map_err(|error| Refusal::body_is_no_json(&error))?;
            let level = wanted["compatibility"].as_str().and_then(Level::named);
            let level = level.ok_or_else(Refusal::invalid_level)?;
            store.set_level(subject, level)?;
            Ok(json!({ "compatibility": level.name() }))
        }
        ("DELETE", subject) => {
            let level = store.unset_level(subject);
            level.map(shown).ok_or_else(|| Refusal::no_subject(subject.unwrap_or_default()))
        }
        _ => Err(Refusal::no_such_method()),
    }
}

/// A schema where its subject does not matter. What is Avro, or refers to nothing, does not say so.
fn contents(document: &Document) -> Json {
    let mut body = json!({ "guid": document.guid(), "schema": document.text });
    if document.language != Language::Avro {
        body["schemaType"] = document.language.name().into();
    }
    if !document.references.is_empty() {
        let reference = |to: &super::document::Reference| json!({ "name": to.name, "subject": to.subject, "version": to.version });
        body["references"] = document.references.iter().map(reference).collect();
    }
    body
}

fn whole(subject: &str, version: Version, document: &Document) -> Json {
    let mut body = json!({ "subject": subject, "version": version.number, "id": version.id });
    if let (Json::Object(body), Json::Object(contents)) = (&mut body, contents(document)) {
        body.extend(contents);
    }
    body
}

/// What a client sends. Fields of newer clients that mean nothing here (metadata, rules) are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<SentReference>>,
    id: Option<i64>,
}

#[derive(Deserialize)]
struct SentReference {
    name: String,
    subject: String,
    version: i64,
}

impl Sent {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map_err(|error| Refusal::body_is_no_json(&error))
    }

    fn draft(self) -> Result<Draft, Refusal> {
        let name = self.schema_type.as_deref().unwrap_or("AVRO");
        let Some(language) =
            Language::ALL.into_iter().find(|language| language.name().eq_ignore_ascii_case(name))
        else {
            return Err(Refusal::invalid_schema(format!("there is no schema type {name}")));
        };
        let Some(text) = self.schema.filter(|text| !text.trim().is_empty()) else {
            return Err(Refusal::invalid_schema("it is empty"));
        };
        let mut references = Vec::new();
        for to in self.references.unwrap_or_default() {
            let Some(version) = Which::numbered(to.version) else {
                return Err(Refusal::invalid_version(&to.version.to_string()));
            };
            references.push((to.name, to.subject, version));
        }
        Ok(Draft { language, text, references })
    }
}

/// What stands behind the question mark.
struct Query(HashMap<String, String>);

impl Query {
    fn read(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name, true), decoded(value, true))
        };
        Self(pairs.map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn shown(&self) -> Shown {
        match (self.flag("deleted"), self.flag("deletedOnly")) {
            (_, true) => Shown::Deleted,
            (true, false) => Shown::All,
            _ => Shown::Alive,
        }
    }

    /// `:*:` stands for all contexts, and there is but one.
    fn prefix(&self) -> &str {
        let prefix = self.get("subjectPrefix").unwrap_or_default();
        prefix.strip_prefix(":*:").unwrap_or(prefix)
    }

    /// The part of a list that was asked for.
    fn page<T: Into<Json>>(&self, all: impl IntoIterator<Item = T>) -> Json {
        let number = |name: &str| self.get(name).and_then(|value| value.parse::<usize>().ok());
        let limit = number("limit").unwrap_or(usize::MAX);
        all.into_iter().skip(number("offset").unwrap_or(0)).take(limit).map(Into::into).collect()
    }
}

/// Without percent signs. What does not decode stays as it is.
fn decoded(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 2;
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
