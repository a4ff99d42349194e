//! Against a real registry, one for all of these tests: over TLS and with a password, dead, and away for a while.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{ProbeContext, RegistryKind};
use aqueduct_api::registry::{Reference, Registering, Registry, SchemaId, SchemaKind, SchemaText, Version};
use aqueduct_api::{ErrorKind, Finding};
use aqueduct_registry::Config;
use aqueduct_tests::{FaultProxy, SchemaRegistry, free_ports};
use serde_json::{Value, json};

const REGISTER: Registering = Registering { allowed: true, normalize: false };
const LOOK_UP: Registering = Registering { allowed: false, normalize: false };

fn config(raw: Value) -> Config {
    let config: Config = serde_json::from_value(raw).unwrap();
    assert_eq!(config.check(), []);
    config
}

fn open(raw: Value) -> Arc<dyn Registry> {
    config(raw).open().unwrap()
}

fn avro(text: impl ToString) -> SchemaText {
    SchemaText::new(SchemaKind::Avro, text.to_string())
}

fn order(fields: &[(&str, Value)]) -> SchemaText {
    let fields: Vec<Value> = fields.iter().map(|(name, of)| json!({ "name": name, "type": of })).collect();
    avro(json!({ "type": "record", "name": "Order", "namespace": "shop", "fields": fields }))
}

async fn findings(raw: Value) -> Vec<Finding> {
    let context =
        ProbeContext { pipeline: "orders".into(), transactional: false, patience: Duration::from_secs(10) };
    config(raw).probe(context).await
}

/// It takes 5 to 20 s to start one, so there is one, and the tests follow each other; each has subjects of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry() {
    let registry = SchemaRegistry::named_or_start_with("app:app-secret");
    let server = Server { registry };
    server.schemas_are_registered_and_looked_up().await;
    server.a_subject_evolves_and_refuses_in_its_own_words().await;
    server.references_come_along_and_go_first().await;
    server.other_languages().await;
    server.subjects_may_be_called_anything().await;
    server.another_address_takes_over().await;
    server.who_may_not_come_in_is_told_so().await;
    // What only one can show whose ports, certificates and life are in our hands.
    if server.registry.is_own() {
        server.an_address_may_be_short_of_its_path().await;
        server.tls_trusts_whom_it_is_told_to().await;
        server.a_probe_looks_at_all_of_it().await;
        server.an_outage_with_a_warm_cache_is_invisible().await;
    }
}

struct Server {
    registry: SchemaRegistry,
}

impl Server {
    fn with(&self, changes: Value) -> Value {
        let mut raw = self.registry.config();
        for (key, value) in changes.as_object().unwrap() {
            raw[key] = value.clone();
        }
        raw
    }

    fn open(&self) -> Arc<dyn Registry> {
        open(self.registry.config())
    }

    /// Apicurio keeps the text as it was written, Karapace puts the keys into the order of the alphabet.
    fn same(&self, read: &SchemaText, written: &SchemaText) {
        assert_eq!(read.kind, written.kind);
        let keys = |schema: &SchemaText| serde_json::from_str::<Value>(&schema.text).ok();
        if self.registry.is_own() || keys(written).is_none() {
            assert_eq!(read.text, written.text);
        }
        assert_eq!(keys(read), keys(written));
    }

    async fn schemas_are_registered_and_looked_up(&self) {
        let [first, second] = ["first-value", "second-value"].map(|name| self.registry.fresh(name));
        let registry = self.open();
        let schema = order(&[("id", json!("long"))]);
        let missing = registry.id(&first, &schema, LOOK_UP).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::BadRecord);
        assert!(
            missing.says().starts_with(&format!("the schema is not registered under subject `{first}`")),
            "{missing}"
        );
        // The refusal is believed for a while, which is about looking up, not about registering.
        let id = registry.id(&first, &schema, REGISTER).await.unwrap();
        assert_eq!(registry.id(&first, &schema, REGISTER).await.unwrap(), id);
        // The same schema under two subjects has one id.
        assert_eq!(registry.id(&second, &schema, REGISTER).await.unwrap(), id);

        let another = self.open();
        assert_eq!(another.id(&first, &schema, LOOK_UP).await.unwrap(), id);
        let read = another.schema(SchemaId::Number(id)).await.unwrap();
        assert_eq!(read.id, id);
        self.same(&read.schema, &schema);
        let latest = another.version(&first, Version::Latest).await.unwrap();
        assert_eq!(latest, read);
        assert_eq!(another.version(&second, Version::Number(1)).await.unwrap(), latest);
        for (what, error) in [
            ("schema id 999999", another.schema(SchemaId::Number(999_999)).await.unwrap_err()),
            ("version 7", another.version(&first, Version::Number(7)).await.unwrap_err()),
            (
                "subject `",
                another.version(&self.registry.fresh("nobody"), Version::Latest).await.unwrap_err(),
            ),
        ] {
            assert_eq!(error.kind(), ErrorKind::BadRecord, "{error}");
            assert!(error.says().contains(what) && error.says().contains("not found"), "{error}");
        }
        // Confluent's names GUIDs in its answers. Apicurio and Karapace answer `/schemas/guids/...` with 404 and nothing else.
        let said = self.registry.version("first-value", 1);
        let words = match said["guid"].as_str() {
            Some(guid) => {
                let guid = u128::from_str_radix(&guid.replace('-', ""), 16).unwrap().to_be_bytes();
                let read = another.schema(SchemaId::Guid(guid)).await.unwrap();
                assert_eq!(read.id, id);
                self.same(&read.schema, &schema);
                "not found"
            }
            None => "knows schemas by their ids only",
        };
        let guid = another.schema(SchemaId::Guid([7; 16])).await.unwrap_err();
        assert_eq!(guid.kind(), ErrorKind::BadRecord);
        assert!(guid.to_string().contains(words), "{guid}");
        let wrong = registry
            .id(&self.registry.fresh("wrong-value"), &avro("{\"type\": \"recor\"}"), REGISTER)
            .await
            .unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::BadRecord, "{wrong}");
    }

    async fn a_subject_evolves_and_refuses_in_its_own_words(&self) {
        let subject = self.registry.fresh("evolving-value");
        let registry = self.open();
        let first = order(&[("id", json!("int"))]);
        let wider = order(&[("id", json!("long"))]);
        let refused = order(&[("id", json!("long")), ("customer", json!("string"))]);
        assert_eq!(registry.incompatibilities(&subject, &first).await.unwrap(), [""; 0]);
        let id = registry.id(&subject, &first, REGISTER).await.unwrap();
        assert_eq!(registry.incompatibilities(&subject, &wider).await.unwrap(), [""; 0]);
        assert_ne!(registry.id(&subject, &wider, REGISTER).await.unwrap(), id);
        self.same(&registry.version(&subject, Version::Number(2)).await.unwrap().schema, &wider);
        // An earlier version keeps its id, whatever came after it.
        assert_eq!(self.open().id(&subject, &first, REGISTER).await.unwrap(), id);

        let why = registry.incompatibilities(&subject, &refused).await.unwrap();
        assert!(!why.is_empty());
        let error = registry.id(&subject, &refused, REGISTER).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        // What Apicurio says of the field without a default; others name it too.
        let words = if self.registry.is_own() { "customer at /fields/1" } else { "customer" };
        assert!(error.says().contains(words), "{error}");
        let normal = Registering { allowed: true, normalize: true };
        let spaced = avro(first.text.replace(',', " , "));
        assert_eq!(self.open().id(&subject, &spaced, normal).await.unwrap(), id);
    }

    async fn references_come_along_and_go_first(&self) {
        let [of_sku, of_line, baskets] =
            ["shop.Sku", "shop.Line", "baskets-value"].map(|name| self.registry.fresh(name));
        let registry = self.open();
        let sku = avro(
            json!({ "type": "record", "name": "Sku", "namespace": "shop", "fields": [{ "name": "code", "type": "string" }] }),
        );
        let line = SchemaText {
            references: vec![Reference {
                name: "shop.Sku".into(),
                subject: of_sku.as_str().into(),
                version: 9,
                schema: Arc::new(sku.clone()),
            }],
            ..avro(
                json!({ "type": "record", "name": "Line", "namespace": "shop", "fields": [{ "name": "sku", "type": "Sku" }] }),
            )
        };
        let basket = SchemaText {
            references: vec![Reference {
                name: "shop.Line".into(),
                subject: of_line.as_str().into(),
                version: 9,
                schema: Arc::new(line.clone()),
            }],
            ..avro(json!({ "type": "record", "name": "Basket", "namespace": "shop", "fields": [
                { "name": "lines", "type": { "type": "array", "items": "Line" } }] }))
        };
        // An unrelated first version, so that the versions are not all alike.
        let other = avro(json!({ "type": "record", "name": "shop.Sku", "fields": [] }));
        registry.id(&of_sku, &other, REGISTER).await.unwrap();
        let sku = SchemaText {
            text: sku.text.replace("\"string\"}", "\"string\",\"default\":\"\"}").into(),
            ..sku
        };
        let basket = replaced(&basket, &sku);
        assert!(registry.id(&baskets, &basket, LOOK_UP).await.is_err());
        let id = match registry.id(&baskets, &basket, REGISTER).await {
            // Karapace before 6.1.
            Err(no) if !self.registry.is_own() && no.says().contains("references are not supported") => {
                return;
            }
            id => id.unwrap(),
        };
        assert_eq!(registry.id(&baskets, &basket, REGISTER).await.unwrap(), id);
        assert_eq!(self.open().id(&baskets, &basket, LOOK_UP).await.unwrap(), id);

        let read = self.open().schema(SchemaId::Number(id)).await.unwrap();
        self.same(&read.schema, &basket);
        let line = &read.schema.references[0];
        assert_eq!((&*line.name, &*line.subject, line.version), ("shop.Line", &*of_line, 1));
        let inner = &line.schema.references[0];
        assert_eq!((&*inner.name, inner.version), ("shop.Sku", 2));
        self.same(&inner.schema, &sku);
        assert_eq!(self.open().version(&baskets, Version::Latest).await.unwrap(), read);
    }

    async fn other_languages(&self) {
        let registry = self.open();
        let json =
            SchemaText::new(SchemaKind::Json, r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#);
        let protobuf = SchemaText::new(
            SchemaKind::Protobuf,
            "syntax = \"proto3\";\n\nmessage Order {\n  int64 id = 1;\n}\n",
        );
        for (subject, schema) in [("json-value", json), ("protobuf-value", protobuf)] {
            let subject = self.registry.fresh(subject);
            let id = registry.id(&subject, &schema, REGISTER).await.unwrap();
            let read = self.open().schema(SchemaId::Number(id)).await.unwrap();
            self.same(&read.schema, &schema);
            assert_eq!(self.open().version(&subject, Version::Latest).await.unwrap(), read, "{subject}");
        }
    }

    async fn subjects_may_be_called_anything(&self) {
        let registry = self.open();
        let schema = order(&[("id", json!("long"))]);
        for subject in ["a/b", "a b?c#d", "100%", "Grüße-value", "a+b&c=d", "shop.Order"] {
            let subject = self.registry.fresh(subject);
            let id = registry.id(&subject, &schema, REGISTER).await.unwrap();
            let latest = self.open().version(&subject, Version::Latest).await;
            assert_eq!(latest.unwrap_or_else(|error| panic!("{subject}: {error}")).id, id);
        }
    }

    async fn who_may_not_come_in_is_told_so(&self) {
        if self.registry.config()["user"].is_null() {
            return;
        }
        let user = format!("user `{}`", self.registry.config()["user"].as_str().unwrap());
        let wrong = open(self.with(json!({ "password": "hunter2" })));
        let nobody = open(json!({ "url": self.registry.url() }));
        let bearer = open(json!({ "url": self.registry.url(), "token": "hunter2" }));
        for (registry, whom) in [(wrong, &*user), (nobody, "anybody"), (bearer, "the bearer of the token")] {
            for error in [
                registry.schema(SchemaId::Number(1)).await.unwrap_err(),
                registry.id("first-value", &order(&[]), REGISTER).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
                assert!(error.says().contains(whom), "{error}");
                assert!(error.what_to_do().unwrap().contains("registry.password"), "{error}");
                assert!(!format!("{error} {registry:?}").contains("hunter2"), "{error}");
            }
        }
    }

    /// A registry elsewhere on the same server.
    async fn an_address_may_be_short_of_its_path(&self) {
        let short = open(self.with(json!({ "url": format!("http://127.0.0.1:{}", self.registry.port) })));
        let error = short.schema(SchemaId::Number(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        assert!(error.what_to_do().unwrap().contains("/apis/ccompat/v7"), "{error}");
    }

    async fn tls_trusts_whom_it_is_told_to(&self) {
        let ca = self.registry.authority();
        let text = std::fs::read_to_string(&ca).unwrap();
        for ca in [json!(ca), json!(text)] {
            let registry = open(self.with(json!({ "url": self.registry.tls_url(), "tls": { "ca": ca } })));
            registry.version("first-value", Version::Latest).await.unwrap();
        }
        // With a client certificate, which it does not ask for, and its key behind a password.
        let folder = ca.parent().unwrap();
        let sealed = folder.join("sealed.key");
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["pkcs8", "-topk8", "-passout", "pass:secret", "-in"]).arg(folder.join("client.key"));
        assert!(openssl.arg("-out").arg(&sealed).status().unwrap().success());
        let tls = |password: &str| {
            json!({ "url": self.registry.tls_url(), "tls": { "ca": ca,
            "certificate": folder.join("client.crt"), "key": sealed, "key_password": password } })
        };
        open(self.with(tls("secret"))).version("first-value", Version::Latest).await.unwrap();
        let error = config(self.with(tls("wrong"))).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.says(), "`registry.tls.key` cannot be opened");

        let system = open(self.with(json!({ "url": self.registry.tls_url() })));
        let error = system.version("first-value", Version::Latest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fatal);
        assert!(error.says().ends_with("was issued by an authority that is not trusted"), "{error}");
        let plain = self
            .registry
            .tls_url()
            .replace(&(self.registry.port + 2).to_string(), &self.registry.port.to_string());
        let error = open(self.with(json!({ "url": plain })))
            .version("first-value", Version::Latest)
            .await
            .unwrap_err();
        assert!(error.says().ends_with("does not speak TLS there"), "{error}");
    }

    async fn another_address_takes_over(&self) {
        let first = self.registry.fresh("first-value");
        let dead = format!("http://127.0.0.1:{}", free_ports(1));
        let both = open(self.with(json!({ "url": [dead, self.registry.url()] })));
        both.version(&first, Version::Latest).await.unwrap();
        let alone = open(self.with(json!({ "url": dead })));
        let error = alone.version(&first, Version::Latest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.says().contains("cannot be reached"), "{error}");
        let unknown = open(self.with(json!({ "url": "http://registry.invalid:8081" })));
        let error = unknown.version(&first, Version::Latest).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(
            error.says().contains("the name of the schema registry registry.invalid:8081 cannot be resolved"),
            "{error}"
        );
        assert_eq!(both.address(), open(self.with(json!({ "url": [self.registry.url(), dead] }))).address());
    }

    async fn a_probe_looks_at_all_of_it(&self) {
        let dead = format!("http://127.0.0.1:{}", free_ports(1));
        let ca = self.registry.authority();
        let says = async |raw| -> Vec<String> {
            findings(raw)
                .await
                .iter()
                .map(|finding| format!("{:?}: {}", finding.verdict, finding.says))
                .collect()
        };
        let place = format!("127.0.0.1:{}", self.registry.port);
        assert_eq!(
            says(self.registry.config()).await,
            [
                format!("Good: schema registry {place} answers at 127.0.0.1"),
                format!("Good: schema registry {place} is asked without encryption"),
                format!("Good: schema registry {place} lets us in as user `app`"),
                format!("Good: schema registry {place} serves JSON, PROTOBUF, AVRO"),
            ]
        );
        let two =
            says(self.with(json!({ "url": [dead, self.registry.tls_url()], "tls": { "ca": ca } }))).await;
        assert!(
            two[0].starts_with("Warning: the schema registry 127.0.0.1:")
                && two[0].contains("cannot be reached"),
            "{two:?}"
        );
        assert!(
            two[2].ends_with("has a certificate of the authority of `registry.tls.ca` for this name"),
            "{two:?}"
        );
        let wrong = says(self.with(json!({ "password": "hunter2" }))).await;
        assert!(wrong.last().unwrap().starts_with("Bad: the schema registry"), "{wrong:?}");
        assert!(wrong.last().unwrap().contains("does not let us in as user `app`"), "{wrong:?}");
        let untrusted = says(self.with(json!({ "url": self.registry.tls_url() }))).await;
        assert!(
            untrusted[0].ends_with("an authority that is not trusted")
                || untrusted[0].contains("not trusted"),
            "{untrusted:?}"
        );
    }

    async fn an_outage_with_a_warm_cache_is_invisible(&self) {
        let proxy = FaultProxy::start(self.registry.port);
        let url = format!("http://127.0.0.1:{}/apis/ccompat/v7", proxy.port);
        let registry = open(self.with(json!({ "url": url, "timeout": "2s" })));
        let schema = order(&[("id", json!("long"))]);
        let id = registry.id("first-value", &schema, REGISTER).await.unwrap();
        let warm = registry.schema(SchemaId::Number(id)).await.unwrap();

        proxy.answer(Some(aqueduct_tests::Answer { status: 503, code: "Away" }));
        assert_eq!(registry.id("first-value", &schema, REGISTER).await.unwrap(), id);
        assert_eq!(registry.schema(SchemaId::Number(id)).await.unwrap(), warm);
        let cold = registry.version("second-value", Version::Latest).await.unwrap_err();
        assert_eq!(cold.kind(), ErrorKind::Transient, "{cold}");
        proxy.answer(None);
        assert_eq!(registry.version("second-value", Version::Latest).await.unwrap().id, id);

        // Dead, not only refusing.
        self.registry.kill();
        assert_eq!(registry.schema(SchemaId::Number(id)).await.unwrap(), warm);
        assert_eq!(registry.version("second-value", Version::Latest).await.unwrap().id, id);
        let direct = self.open();
        let cold = direct.schema(SchemaId::Number(id)).await.unwrap_err();
        assert_eq!(cold.kind(), ErrorKind::Transient, "{cold}");
        self.registry.start_again();
        // It came back empty, and takes schemas again through the same client.
        assert_eq!(direct.schema(SchemaId::Number(id)).await.unwrap_err().kind(), ErrorKind::BadRecord);
        direct.id("first-value", &schema, REGISTER).await.unwrap();
    }
}

/// The basket with another schema at its innermost.
fn replaced(basket: &SchemaText, sku: &SchemaText) -> SchemaText {
    let mut basket = basket.clone();
    let line = Arc::make_mut(&mut basket.references[0].schema);
    line.references[0].schema = Arc::new(sku.clone());
    basket
}
