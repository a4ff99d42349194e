//! The client of the SDK, and what its errors mean here.

use std::error::Error as StdError;

use aqueduct_api::{Error, Result};
use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Duration;

use crate::config::{Checksum, Connection};

/// What is sent slower than a byte a second for so long is given up: uplinks do pause.
const STALL_GRACE: Duration = Duration::from_secs(60);
/// Tries of the SDK itself, which mend a wrong clock; waiting for a server is ours.
const SDK_TRIES: u32 = 2;

/// Makes a client; no request is sent.
pub(crate) async fn connect(connection: &Connection) -> Result<Client> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    let region = connection.region.clone().or_else(|| {
        // At an endpoint nobody asks Amazon's machines where they are, which takes seconds where there are
        // none.
        let known = || std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".into());
        connection.endpoint.is_some().then(known)
    });
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let (Some(key), Some(secret)) = (&connection.access_key, &connection.secret_key) {
        loader =
            loader.credentials_provider(Credentials::new(key, secret.reveal(), None, None, "pipeline file"));
    }
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(connection.timeouts.connect.0)
        .read_timeout(connection.timeouts.answer.0)
        .build();
    let shared = loader.timeout_config(timeouts).load().await;
    if shared.region().is_none() {
        return Err(Error::config(format!("no region is known for the bucket `{}`", connection.bucket))
            .remedy("write `connection.region`, or set AWS_REGION"));
    }
    let (request, response) = match connection.checksum {
        Checksum::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
        Checksum::WhenRequired => {
            (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
        }
    };
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(connection.path_style.unwrap_or(connection.endpoint.is_some()))
        .request_checksum_calculation(request)
        .response_checksum_validation(response)
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL_GRACE).build())
        .retry_config(RetryConfig::standard().with_max_attempts(SDK_TRIES));
    if let Some(endpoint) = &connection.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(config.build()))
}

/// Who is spoken to and as whom, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) bucket: String,
    server: String,
    key: String,
    region: String,
}

impl Place {
    pub(crate) fn new(connection: &Connection, client: &Client) -> Self {
        let key = connection.access_key.as_ref();
        let region = client.config().region().map_or_else(String::new, ToString::to_string);
        Self {
            bucket: connection.bucket.clone(),
            server: connection.endpoint.clone().unwrap_or_else(|| format!("Amazon S3 in {region}")),
            key: key.map_or_else(|| "the access key".into(), |key| format!("the access key `{key}`")),
            region,
        }
    }

    /// What an error means: worth another try, a wrong configuration, or the end of this run. `doing`
    /// completes the sentence "may not ...".
    pub(crate) fn classify<E>(&self, doing: &str, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let Self { bucket, server, .. } = self;
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (&error, status) {
            (SdkError::ServiceError(_), Some(status)) => {
                self.refusal(doing, status, error.code(), error.message())
            }
            (SdkError::TimeoutError(_), _) => self.too_slow(),
            (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => self.too_slow(),
            (SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_), _) => self.not_sent(&error),
            _ => Error::transient(format!("the answer of {server} about the bucket `{bucket}` was cut off"))
                .caused_by(innermost(&error))
                .remedy("it is tried again by itself"),
        }
    }

    fn too_slow(&self) -> Error {
        Error::transient(format!("{} does not answer in time", self.server))
            .remedy("it is tried again by itself; a slow line may need a longer `connection.timeouts.answer`")
    }

    /// A request that did not leave, or came to nothing: for want of credentials, or of a server. Credentials
    /// may be there in a minute as well: a machine's role takes its time.
    fn not_sent(&self, error: &(dyn StdError + 'static)) -> Error {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.to_string().contains("credentials") {
                let says = format!("no credentials are found for the bucket `{}`", self.bucket);
                return Error::transient(says).remedy(
                    "write `connection.access_key` and `connection.secret_key`, or set AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY, or a profile; it is tried again by itself",
                );
            }
            cause = error.source();
        }
        Error::transient(format!("{} cannot be reached", self.server))
            .caused_by(innermost(error))
            .remedy("it is tried again by itself; check that it runs, and `connection.endpoint`")
    }

    /// An answer that says no.
    fn refusal(&self, doing: &str, status: u16, code: Option<&str>, message: Option<&str>) -> Error {
        let Self { bucket, server, key, region } = self;
        match (status, code.unwrap_or_default()) {
            (_, "NoSuchBucket") => Error::config(format!("the bucket `{bucket}` does not exist at {server}"))
                .remedy("create it, or correct `connection.bucket`"),
            (_, "InvalidAccessKeyId" | "XAdminUserNotFound") => {
                Error::config(format!("{server} does not know {key}"))
                    .remedy("correct `connection.access_key`, or the environment it comes from")
            }
            (_, "SignatureDoesNotMatch") => {
                Error::config(format!("{server} says that the secret of {key} is wrong"))
                    .remedy("correct `connection.secret_key`, or the environment it comes from")
            }
            (301 | 307, _) | (_, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                Error::config(format!("the bucket `{bucket}` is not in the region `{region}`"))
                    .remedy("correct `connection.region`")
            }
            (_, "RequestTimeTooSkewed") => {
                Error::transient(format!("{server} says that the clock here is wrong"))
                    .remedy("set it; it is tried again by itself")
            }
            (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
                Error::transient(format!("the session of {key} has expired at {server}"))
                    .remedy("renew it; it is tried again by itself")
            }
            (_, "InvalidObjectState") => Error::config(format!(
                "an object of the bucket `{bucket}` is archived, and has to be read back"
            ))
            .remedy("restore it, or move it away"),
            // Somebody has to grant it, and nothing here has to start again then.
            (403, _) => Error::transient(format!("{key} may not {doing} in the bucket `{bucket}`")).remedy(
                "allow s3:GetObject, s3:PutObject, s3:AbortMultipartUpload, s3:ListBucket and \
                 s3:ListBucketMultipartUploads; it is tried again by itself",
            ),
            // The same request would be refused for ever.
            (_, code) if is_permanent(status, code) => Error::config(format!(
                "{server} refuses to {doing} in the bucket `{bucket}`: {status} {code}: {}",
                message.unwrap_or("no reason given")
            ))
            .remedy("correct what it names, or take a server that can do it"),
            // 400 RequestTimeout: the body came too slowly. 409: a request for the same name is under way.
            (408 | 409 | 429 | 500 | 502.., code)
            | (_, code @ ("RequestTimeout" | "SlowDown" | "BadDigest" | "IncompleteBody")) => {
                let code = if code.is_empty() { String::new() } else { format!(" {code}") };
                Error::transient(format!("{server} answers {status}{code}"))
                    .remedy("it is tried again by itself")
            }
            (_, code) => Error::fatal(format!(
                "{server} refuses to {doing} in the bucket `{bucket}`: {status} {code}: {}",
                message.unwrap_or("no reason given")
            )),
        }
    }
}

/// Whether a request is refused for what it asks, so that asking again is no use: for want of a feature of the server
/// (501, 405), or for an option of the pipeline file.
fn is_permanent(status: u16, code: &str) -> bool {
    const OPTIONS: [&str; 11] = [
        "InvalidArgument",
        "InvalidRequest",
        "InvalidStorageClass",
        "InvalidEncryptionAlgorithmError",
        "InvalidBucketName",
        "KeyTooLongError",
        "EntityTooLarge",
        "NotImplemented",
        "KMS.NotFoundException",
        "KMS.DisabledException",
        "KMS.InvalidKeyUsageException",
    ];
    matches!(status, 405 | 501) || OPTIONS.contains(&code)
}

/// The cause that says most: the last one.
fn innermost(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
