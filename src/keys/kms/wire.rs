//! Signed requests (Signature Version 4) over the HTTP client and the TLS that the gate has already.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, RequestSigner};
use reqsign_core::{Context, FileRead, HttpSend, OsEnv, Signer};
use tokio::time::timeout;

use crate::{config::KeyInKms, digest::Digest, terminal::printable, tls::Roots};

/// Longest answer: a public key or a signature.
const MAX_ANSWER: usize = 64 << 10;
/// To connect: where there is no instance metadata service, nobody answers.
const CONNECT: Duration = Duration::from_secs(2);

/// A way to KMS.
pub(super) struct Wire {
    http: Http,
    endpoint: Uri,
    signer: Signer<Credential>,
    timeout: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Wire {
    /// Connects to nothing yet.
    pub(super) fn new(kms: &KeyInKms) -> Result<Self, String> {
        let endpoint = match &kms.endpoint {
            Some(url) => url.to_string(),
            None if kms.region.starts_with("cn-") => format!("https://kms.{}.amazonaws.com.cn/", kms.region),
            None => format!("https://kms.{}.amazonaws.com/", kms.region),
        };
        let http = Http::new()?;
        let context = Context::new()
            .with_file_read(Files)
            .with_http_send(http.clone())
            .with_env(OsEnv);
        Ok(Self {
            http,
            endpoint: endpoint.parse().map_err(|error| format!("`{endpoint}`: {error}"))?,
            signer: Signer::new(
                context,
                DefaultCredentialProvider::new(),
                RequestSigner::new("kms", &kms.region),
            ),
            timeout: kms.timeout,
        })
    }

    /// One request; the error says why there is no answer.
    pub(super) async fn send(&self, operation: &str, body: String) -> Result<Answer, String> {
        let work = async {
            let request = Request::builder()
                .method(Method::POST)
                .uri(&self.endpoint)
                .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
                .header("x-amz-target", format!("TrentService.{operation}"))
                .header("x-amz-content-sha256", Digest::of(&body).to_string())
                .body(())
                .map_err(|error| error.to_string())?;
            let (mut head, ()) = request.into_parts();
            let signed = self.signer.sign(&mut head, None).await;
            signed.map_err(|error| format!("no credentials: {}", printable(&error.to_string())))?;
            let response = self.http.request(Request::from_parts(head, Bytes::from(body))).await?;
            Ok(Answer {
                status: response.status().as_u16(),
                body: response.into_body(),
            })
        };
        match timeout(self.timeout, work).await {
            Ok(done) => done,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }
}

/// The client for KMS and for whoever gives credentials.
#[derive(Clone)]
struct Http(Arc<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>);

/// Requests and answers hold credentials: none is shown.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    fn new() -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let roots = Roots::system_and(&Roots::default()).and_then(|roots| roots.client());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(roots.map_err(|error| error.to_string())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(Arc::new(Client::builder(TokioExecutor::new()).build(connector))))
    }

    async fn request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let response = self.0.request(request.map(Full::new)).await;
        let (head, body) = response.map_err(|error| cause(&error))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

impl HttpSend for Http {
    async fn http_send(&self, request: Request<Bytes>) -> reqsign_core::Result<Response<Bytes>> {
        self.request(request).await.map_err(reqsign_core::Error::unexpected)
    }
}

/// AWS's files: profiles, tokens.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        let read = tokio::fs::read(path).await;
        read.map_err(|error| reqsign_core::Error::unexpected(format!("`{path}`: {error}")))
    }
}

/// The innermost cause says most.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
