//! Formats opened with a real registry. Each value has a client of its own, which remembers nothing of the others.

use std::path::PathBuf;
use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind, RegistryKind};
use aqueduct_api::{Encoded, FormatContext, Part, Result, Side, Typed};
use aqueduct_tests::{Folder, SchemaRegistry};
use serde_json::Value as Json;

use crate::memory::Held;

pub(crate) struct Server {
    pub(crate) registry: SchemaRegistry,
    folder: Folder,
}

fn configured<K: Block + FormatKind>(options: Json) -> Arc<K> {
    Arc::new(serde_json::from_value(options).expect("options of the format"))
}

impl Server {
    pub(crate) fn start() -> Self {
        let registry = SchemaRegistry::named_or_start_with("app:app-secret");
        Self { registry, folder: Folder::new("schemas") }
    }

    fn context(&self) -> FormatContext {
        let config: aqueduct_registry::Config =
            serde_json::from_value(self.registry.config()).expect("a configuration");
        let registry = config.open().expect("a client");
        FormatContext { pipeline: "p".into(), part: Part::Value, registry: Some(registry) }
    }

    pub(crate) async fn read<K: Block + FormatKind>(
        &self,
        topic: &str,
        options: Json,
        bytes: &[u8],
    ) -> Result<Typed> {
        let held = Held { topic: self.registry.fresh(topic).into(), ..Held::new(bytes.to_vec()) };
        self.read_held::<K>(options, &held).await
    }

    pub(crate) async fn read_held<K: Block + FormatKind>(&self, options: Json, held: &Held) -> Result<Typed> {
        let mut decoder = K::decoder(&configured::<K>(options), &self.context())?;
        decoder.prepare(&[held.piece()]).await?;
        decoder.decode(held.piece())
    }

    pub(crate) async fn write<K: Block + FormatKind>(
        &self,
        topic: &str,
        options: Json,
        typed: &Typed,
    ) -> Result<Vec<u8>> {
        let mut encoder = K::encoder(&configured::<K>(options), &self.context())?;
        let (topic, mut out) = (self.registry.fresh(topic).into(), Vec::new());
        assert_eq!(encoder.encode(&topic, typed, &mut out)?, Encoded::Unprepared);
        encoder.prepare(&topic, typed.schema()).await?;
        assert_eq!(encoder.encode(&topic, typed, &mut out)?, Encoded::Done);
        Ok(out)
    }

    /// What `aqueduct check --connect` prints of a topic: the verdict, the sentence, the remedy behind a semicolon.
    pub(crate) async fn probe<K: Block + FormatKind>(
        &self,
        side: Side,
        options: Json,
        topic: &str,
    ) -> Vec<String> {
        let topics = vec![self.registry.fresh(topic).into()];
        let findings = K::probe(&configured::<K>(options), side, self.context(), topics).await;
        findings.iter().map(|finding| format!("{:?}: {finding}", finding.verdict)).collect()
    }

    /// Apicurio's words of why a schema is not compatible; another says it in its own.
    pub(crate) fn words(&self, apicurios: &'static str) -> &'static str {
        if self.registry.is_own() { apicurios } else { "is not compatible with subject" }
    }

    /// The sentence about a subject that is not there.
    pub(crate) fn missing(&self, subject: &str, version: &str) -> String {
        let subject = self.registry.fresh(subject);
        format!(
            "Bad: the schema registry does not know subject `{subject}`, {version}: Subject '{subject}' not found. \
             (registry={}, subject={subject})",
            self.registry.url()
        )
    }

    /// The sentence about a schema that the subject does not have, where it may not be registered.
    pub(crate) fn unregistered(&self, subject: &str, words: &str) -> String {
        let subject = self.registry.fresh(subject);
        format!(
            "Bad: the schema is not registered under subject `{subject}`: {words} (registry={}, subject={subject}); \
             register it there, or allow that it is registered",
            self.registry.url()
        )
    }

    /// A file of schema text.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        self.folder.write(name, text)
    }
}
