//! What the registry says when it does not do as it was asked: Confluent's codes and words, which clients act upon.
//! <https://docs.confluent.io/platform/current/schema-registry/develop/api.html>

use serde_json::json;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    code: u32,
    says: String,
}

impl Refusal {
    /// The first three digits of a code are those of the HTTP status.
    fn new(code: u32, says: impl Into<String>) -> Self {
        let status = if code > 999 { code / 100 } else { code };
        Self { status: status as u16, code, says: says.into() }
    }

    pub(crate) fn body(&self) -> String {
        json!({ "error_code": self.code, "message": self.says }).to_string()
    }

    pub(crate) fn no_such_page() -> Self {
        Self::new(404, "HTTP 404 Not Found")
    }

    pub(crate) fn no_such_method() -> Self {
        Self::new(405, "HTTP 405 Method Not Allowed")
    }

    pub(crate) fn body_is_no_json(error: &serde_json::Error) -> Self {
        Self::new(400, format!("the body of the request cannot be read: {error}"))
    }

    pub(crate) fn body_is_too_large(bytes_max: usize) -> Self {
        Self::new(413, format!("the body of the request is larger than {bytes_max} bytes"))
    }

    pub(crate) fn no_subject(subject: &str) -> Self {
        Self::new(40401, format!("Subject '{subject}' not found."))
    }

    pub(crate) fn no_version(version: impl std::fmt::Display) -> Self {
        Self::new(40402, format!("Version {version} not found."))
    }

    pub(crate) fn not_registered() -> Self {
        Self::new(40403, "Schema not found")
    }

    pub(crate) fn no_schema(id: impl std::fmt::Display) -> Self {
        Self::new(40403, format!("Schema {id} not found"))
    }

    pub(crate) fn subject_is_deleted(subject: &str) -> Self {
        Self::new(
            40404,
            format!("Subject '{subject}' was soft deleted. Set permanent=true to delete permanently"),
        )
    }

    pub(crate) fn subject_is_alive(subject: &str) -> Self {
        Self::new(
            40405,
            format!("Subject '{subject}' was not deleted first before being permanently deleted"),
        )
    }

    pub(crate) fn version_is_deleted(subject: &str, version: u32) -> Self {
        let says = "was soft deleted. Set permanent=true to delete permanently";
        Self::new(40406, format!("Subject '{subject}' Version {version} {says}"))
    }

    pub(crate) fn version_is_alive(subject: &str, version: u32) -> Self {
        let says = "was not deleted first before being permanently deleted";
        Self::new(40407, format!("Subject '{subject}' Version {version} {says}"))
    }

    pub(crate) fn no_level(subject: &str) -> Self {
        let says = format!("Subject '{subject}' does not have subject-level compatibility configured");
        Self::new(40408, says)
    }

    pub(crate) fn no_mode(subject: &str) -> Self {
        Self::new(40409, format!("Subject '{subject}' does not have subject-level mode configured"))
    }

    pub(crate) fn incompatible(subject: &str, objections: &[String]) -> Self {
        let details = objections.join(", ");
        let says = "Schema being registered is incompatible with an earlier schema for subject";
        Self::new(40901, format!("{says} \"{subject}\", details: [{details}]"))
    }

    pub(crate) fn invalid_schema(why: impl std::fmt::Display) -> Self {
        Self::new(42201, format!("Invalid schema: {why}"))
    }

    pub(crate) fn invalid_version(version: &str) -> Self {
        let allowed = "Allowed values are between [1, 2^31-1] and the string \"latest\"";
        Self::new(42202, format!("The specified version '{version}' is not a valid version id. {allowed}"))
    }

    pub(crate) fn invalid_level() -> Self {
        let valid =
            "none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive";
        Self::new(42203, format!("Invalid compatibility level. Valid values are {valid}"))
    }

    /// Ids are given out, not taken.
    pub(crate) fn not_in_import_mode(subject: &str) -> Self {
        Self::new(42205, format!("Subject {subject} is not in import mode"))
    }

    pub(crate) fn is_referenced(subject: &str, version: u32) -> Self {
        let says =
            format!("One or more references exist to the schema {{subject={subject},version={version}}}.");
        Self::new(42206, says)
    }

    /// A limit of the embedded registry, which a real one does not have.
    pub(crate) fn full(says: String) -> Self {
        Self::new(50001, says)
    }
}
