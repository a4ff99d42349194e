//! The block `registry:` of a file.

mod tls;

use std::borrow::Cow;

use aqueduct_api::Problem;
use aqueduct_api::config::{Duration, Secret};
use reqwest::Url;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

pub use tls::{Pem, Tls};

/// A schema registry with Confluent's API: Confluent's own, Karapace, or Apicurio below `/apis/ccompat/v7`. A key whose
/// text is empty is one that is not given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is: `https://registry:8081`. A list where it has several addresses; the first that answers is used, and
    /// kept to until it no longer does.
    pub url: Urls,
    /// The user of a registry with a password.
    #[serde(default, deserialize_with = "given")]
    pub user: Option<String>,
    /// The password of the user.
    #[serde(default, deserialize_with = "given_secret")]
    pub password: Option<Secret>,
    /// A bearer token, in place of user and password.
    #[serde(default, deserialize_with = "given_secret")]
    pub token: Option<Secret>,
    /// Whom to trust, and who we are, where the address begins with `https://`.
    #[serde(default)]
    pub tls: Tls,
    /// How long one request may take.
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
}

/// One address or several: a list, or one text with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(pub Vec<String>);

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

fn given_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<Secret>::deserialize(deserializer)?.filter(|secret| !secret.reveal().is_empty()))
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Several(Vec<String>),
        }
        let texts = match Written::deserialize(deserializer)? {
            Written::One(text) => vec![text],
            Written::Several(texts) => texts,
        };
        let each = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        Ok(Self(each.filter(|url| !url.is_empty()).map(str::to_owned).collect()))
    }
}

impl JsonSchema for Urls {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "urls".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl Urls {
    /// The addresses, each without a slash at its end; nothing where one is none.
    pub(crate) fn parsed(&self) -> Option<Vec<Url>> {
        self.0.iter().map(|text| address(text).ok()).collect()
    }
}

/// What is wrong with an address, and what to do about it. The address itself is not said: it may hold a password.
fn address(text: &str) -> Result<Url, (&'static str, &'static str)> {
    const AS: &str = "write it as in https://registry.example.com:8081";
    let url = Url::parse(text).map_err(|_| ("is not a URL", AS))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(("is not an address of a web server", AS));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("has credentials in it, which logs would show", "move them to `user` and `password`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("has more behind its path", "leave out everything from the `?` or `#` on"));
    }
    Ok(url)
}

/// What parsing alone cannot see.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |path: &str, says: &str, remedy: &str| {
        problems.push(Problem::new(path, says).remedy(remedy));
    };
    if config.url.0.is_empty() {
        wrong("url", "no address is given", "write it as in https://registry.example.com:8081");
    }
    for (index, text) in config.url.0.iter().enumerate() {
        let path = if config.url.0.len() == 1 { "url".to_owned() } else { format!("url[{index}]") };
        if let Err((says, remedy)) = address(text) {
            wrong(&path, &format!("the address {says}"), remedy);
        }
    }
    let login = config.user.is_some() || config.password.is_some();
    match (&config.user, &config.password) {
        _ if login && config.token.is_some() => {
            wrong("token", "both a token and a user are given", "leave one of them out");
        }
        (Some(_), None) => wrong("user", "the user has no password", "give `password`"),
        (None, Some(_)) => wrong("password", "the password has no user", "give `user`"),
        _ => {}
    }
    let token = config.token.as_ref().map(|token| token.reveal().as_str()).unwrap_or_default();
    if token.chars().any(|letter| letter.is_control() || !letter.is_ascii()) {
        wrong(
            "token",
            "the token has characters that no header can carry",
            "see whether a line end slipped in",
        );
    }
    let tls = &config.tls;
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => wrong("tls.certificate", "the certificate has no key", "give `tls.key`"),
        (None, Some(_)) => wrong("tls.key", "the key has no certificate", "give `tls.certificate`"),
        (_, None) if tls.key_password.is_some() => {
            wrong("tls.key_password", "there is no key that it could open", "give `tls.key`");
        }
        _ => {}
    }
    if tls.is_given() && !config.url.0.is_empty() && config.url.0.iter().all(|url| url.starts_with("http://"))
    {
        wrong("tls", "the connection is not encrypted", "write the address with https://");
    }
    if config.timeout.0.is_zero() {
        wrong("timeout", "no answer comes in no time", "write a few seconds, as in 10s");
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(raw: Value) -> Config {
        serde_json::from_value(raw).unwrap()
    }

    fn found(raw: Value) -> Vec<String> {
        let problems = check(&read(raw));
        problems.iter().map(|problem| format!("{}: {}", problem.path, problem.says)).collect()
    }

    #[test]
    fn addresses_are_a_text_or_a_list() {
        let urls = |url| read(json!({ "url": url })).url.0;
        assert_eq!(urls(json!("http://a:8081")), ["http://a:8081"]);
        assert_eq!(urls(json!("http://a:8081, http://b/x/")), ["http://a:8081", "http://b/x/"]);
        assert_eq!(urls(json!(["http://a:8081", "http://b"])), ["http://a:8081", "http://b"]);
        assert_eq!(urls(json!("")), [""; 0]);
    }

    #[test]
    fn what_a_platform_leaves_empty_is_not_given() {
        let config = read(json!({ "url": "http://a", "user": "", "password": "", "token": "",
            "tls": { "ca": "", "certificate": "", "key": "", "key_password": "" } }));
        assert_eq!(found(json!({ "url": "http://a", "user": "", "tls": { "ca": "" } })), [""; 0]);
        assert!(config.user.is_none() && config.password.is_none() && config.token.is_none());
        assert!(!config.tls.is_given());
        assert_eq!(config.timeout, Duration::from_secs(10));
    }

    #[test]
    fn problems_are_named_where_they_are() {
        assert_eq!(found(json!({ "url": [] })), ["url: no address is given"]);
        assert_eq!(
            found(json!({ "url": "registry:8081" })),
            ["url: the address is not an address of a web server"]
        );
        assert_eq!(found(json!({ "url": ["http://a", "no"] })), ["url[1]: the address is not a URL"]);
        assert_eq!(found(json!({ "url": "http://a?x=1" })), ["url: the address has more behind its path"]);
        let both = json!({ "url": "http://a", "user": "u", "password": "p", "token": "t" });
        assert_eq!(found(both), ["token: both a token and a user are given"]);
        assert_eq!(found(json!({ "url": "http://a", "user": "u" })), ["user: the user has no password"]);
        assert_eq!(found(json!({ "url": "http://a", "token": "t\n" })).len(), 1);
        let tls = |tls| found(json!({ "url": "https://a", "tls": tls }));
        assert_eq!(tls(json!({ "key": "/k" })), ["tls.key: the key has no certificate"]);
        assert_eq!(tls(json!({ "certificate": "/c" })), ["tls.certificate: the certificate has no key"]);
        assert_eq!(
            tls(json!({ "key_password": "x" })),
            ["tls.key_password: there is no key that it could open"]
        );
        let plain = json!({ "url": "http://a", "tls": { "ca": "/ca" }, "timeout": "0s" });
        assert_eq!(
            found(plain),
            ["tls: the connection is not encrypted", "timeout: no answer comes in no time"]
        );
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        let problems = check(&read(json!({ "url": "https://me:hunter2@a" })));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].remedy.as_deref(), Some("move them to `user` and `password`"));
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}
