//! A bucket of an S3-compatible store, through `object_store`, on a small runtime of its own: whoever backs up does one
//! thing after the other.

use super::DepotError;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, Error as StoreError, ObjectStoreExt, RetryConfig};
use serde::Deserialize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Name of the systemd credential that is looked for where no file is named.
const CREDENTIAL: &str = "stele-s3";
/// How long one request may take, and all attempts at it.
const REQUEST: Duration = Duration::from_secs(120);
const ATTEMPTS: Duration = Duration::from_secs(180);
const ATTEMPTS_MAX: usize = 4;

/// Endpoint and credentials. Has no `Debug`: nothing may print it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3File {
    /// URL of the store, where it is not AWS.
    endpoint: Option<String>,
    /// The store's region; many that are not AWS take any.
    #[serde(default = "any_region")]
    region: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    /// Whether an endpoint without TLS may be used: bytes are proven, but everybody on the way sees them.
    #[serde(default)]
    allow_http: bool,
}

fn any_region() -> String {
    "us-east-1".to_owned()
}

impl S3File {
    /// Reads the file that was named, or the systemd credential.
    pub fn find(named: Option<&Path>) -> Result<Self, DepotError> {
        let credential = || std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| PathBuf::from(dir).join(CREDENTIAL));
        let Some(path) = named.map(Path::to_owned).or_else(credential) else {
            let reason = "no file with credentials was named, and there is no systemd credential of this name".into();
            return Err(DepotError::Credentials { path: CREDENTIAL.into(), reason });
        };
        let refused = |reason: String| DepotError::Credentials { path: path.clone(), reason };
        let about = std::fs::metadata(&path).map_err(|error| refused(error.to_string()))?;
        if about.permissions().mode() & 0o077 != 0 {
            return Err(refused("it can be read by others than its owner; chmod 600 it".into()));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
        // The parser's own message would quote the line.
        toml::from_str(&text).map_err(|_| refused("it is not TOML with the keys that are known".into()))
    }
}

/// See the module.
pub struct Bucket {
    name: String,
    store: AmazonS3,
    prefix: ObjectPath,
    runtime: Runtime,
}

impl Bucket {
    /// `rest` is what follows `s3://` in `location`.
    pub(super) fn open(location: &str, rest: &str, file: &S3File) -> Result<Self, DepotError> {
        let wrong = |reason| DepotError::Location { location: location.to_owned(), reason };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("it names no bucket"));
        }
        let prefix = ObjectPath::parse(prefix.trim_end_matches('/')).map_err(|_| wrong("its prefix is no path"))?;
        let client = ClientOptions::new().with_allow_http(file.allow_http).with_timeout(REQUEST);
        let retry = RetryConfig { max_retries: ATTEMPTS_MAX, retry_timeout: ATTEMPTS, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&file.region)
            .with_access_key_id(&file.access_key_id)
            .with_secret_access_key(&file.secret_access_key)
            .with_client_options(client)
            .with_disable_bulk_delete(true)
            .with_retry(retry);
        if let Some(endpoint) = &file.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(token) = &file.session_token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| refused("open", bucket, error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(super::file(Path::new("a runtime")))?;
        Ok(Self { name: bucket.to_owned(), store, prefix, runtime })
    }

    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), DepotError> {
        let path = self.path(name);
        let put = self.store.put(&path, bytes.into());
        self.runtime.block_on(put).map(drop).map_err(|error| match error {
            // An object that is put is there: what is not is the bucket.
            StoreError::NotFound { .. } => DepotError::Bucket { bucket: self.name.clone() },
            error => refused("put", name, error),
        })
    }

    pub(super) fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, DepotError> {
        let path = self.path(name);
        self.runtime.block_on(async {
            let found = self.store.get(&path).await.map_err(|error| refused("get", name, error))?;
            let bytes = found.meta.size;
            if bytes > bytes_max {
                return Err(DepotError::Length { name: name.to_owned(), bytes, expected: bytes_max });
            }
            let bytes = found.bytes().await.map_err(|error| refused("get", name, error))?;
            Ok(bytes.into())
        })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DepotError> {
        match self.runtime.block_on(self.store.delete(&self.path(name))) {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(refused("remove", name, error)),
        }
    }

    pub(super) fn place(&self) -> String {
        format!("s3://{}/{}", self.name, self.prefix)
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }
}

fn refused(operation: &'static str, name: &str, error: StoreError) -> DepotError {
    match error {
        StoreError::NotFound { .. } => DepotError::Missing { name: name.to_owned() },
        error => DepotError::Store { operation, name: name.to_owned(), source: Box::new(error) },
    }
}
