//! A plain web server over a folder, so that quickstart has a real upstream behind a real HTTP hop: GET, HEAD, PUT,
//! DELETE, and a listing for names that end in `/`. It knows nothing of TUF and keeps no record; it is a stand-in for
//! the artifact server, never part of the gate.

use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use tokio::{
    fs::{self, File},
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

/// Bytes read from a file at once.
const CHUNK: usize = 64 * 1024;

/// Serves the folder `www` until `shutdown`.
pub async fn serve(www: PathBuf, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
    let app = Router::new().fallback(answer).with_state(www);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn answer(State(www): State<PathBuf>, request: Request) -> Response {
    let Some(path) = locate(&www, request.uri()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let index = request.uri().path().ends_with('/');
    let method = request.method().clone();
    let done = match method {
        Method::GET | Method::HEAD if index => listing(&path).await,
        Method::GET | Method::HEAD => send(&path, request.headers()).await,
        Method::PUT if !index => store(&www, &path, request.into_body()).await,
        Method::DELETE if !index => fs::remove_file(&path)
            .await
            .map(|()| StatusCode::NO_CONTENT.into_response()),
        _ => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
    };
    done.unwrap_or_else(|error| {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, StorageFull};
        match error.kind() {
            NotFound | NotADirectory => StatusCode::NOT_FOUND,
            IsADirectory => StatusCode::CONFLICT,
            StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
        .into_response()
    })
}

/// The file a request names; `None` for names that could lead out of the folder.
fn locate(www: &Path, uri: &Uri) -> Option<PathBuf> {
    let decoded = percent_decode_str(uri.path()).decode_utf8().ok()?;
    let name = decoded.strip_prefix('/')?;
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() {
        return Some(www.to_owned());
    }
    let plain =
        |segment: &str| !segment.is_empty() && !segment.starts_with(TEMPORARY) && segment != "." && segment != "..";
    let good = name.split('/').all(plain) && !name.contains(['\\', '\0']);
    good.then(|| www.join(name))
}

/// Uploads are written beside their place under names that begin so, which no request can name.
const TEMPORARY: &str = ".upload-";

async fn send(path: &Path, asked: &HeaderMap) -> io::Result<Response> {
    let file = File::open(path).await?;
    let about = file.metadata().await?;
    if about.is_dir() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let nanos = modified
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let tag = format!("\"{:x}-{:x}\"", about.len(), nanos);
    let validators = [
        (header::ETAG, tag.clone()),
        (header::LAST_MODIFIED, httpdate::fmt_http_date(modified)),
    ];
    if asked
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, validators).into_response());
    }
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("txt" | "md" | "sh") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, about.len().to_string()),
    ];
    let bytes = stream::try_unfold(file, async |mut file| {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, io::Error>((read > 0).then(|| (Bytes::from(chunk), file)))
    });
    Ok((validators, headers, Body::from_stream(bytes)).into_response())
}

async fn store(www: &Path, path: &Path, body: Body) -> io::Result<Response> {
    let folder = path.parent().unwrap_or(www);
    fs::create_dir_all(folder).await?;
    // Dropped, and so deleted, when the client goes away before the body is whole.
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    let mut file = File::from_std(temporary.reopen()?);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        file.write_all(&chunk.map_err(io::Error::other)?).await?;
    }
    file.sync_all().await?;
    let known = fs::try_exists(path).await?;
    temporary.persist(path).map_err(|error| error.error)?;
    let status = if known {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::CREATED
    };
    Ok(status.into_response())
}

async fn listing(folder: &Path) -> io::Result<Response> {
    let mut entries = fs::read_dir(folder).await?;
    let mut names = Vec::new();
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let slash = if entry.file_type().await?.is_dir() { "/" } else { "" };
        if !name.starts_with(TEMPORARY) {
            names.push(format!("{name}{slash}"));
        }
    }
    names.sort_unstable();
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let link = |name: &String| {
        let target = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
        format!("<li><a href=\"{}\">{}</a>\n", target.replace("%2F", "/"), escape(name))
    };
    let links: String = names.iter().map(link).collect();
    Ok(Html(format!(
        "<!doctype html><meta charset=utf-8><title>artifacts</title>\n<ul>\n{links}</ul>\n"
    ))
    .into_response())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn ask(www: &Path, method: &str, path: &str, body: &'static str) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::from(body))
            .unwrap();
        let answer = answer(State(www.to_owned()), request).await;
        let status = answer.status();
        (
            status,
            axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap(),
        )
    }

    #[tokio::test]
    async fn files_are_stored_sent_listed_and_deleted() {
        let www = tempfile::tempdir().unwrap();
        let www = www.path();
        assert_eq!(ask(www, "PUT", "/a/b%20c.txt", "one").await.0, StatusCode::CREATED);
        assert_eq!(ask(www, "PUT", "/a/b%20c.txt", "two").await.0, StatusCode::NO_CONTENT);
        assert_eq!(
            ask(www, "GET", "/a/b%20c.txt", "").await,
            (StatusCode::OK, "two".into())
        );
        let list = ask(www, "GET", "/a/", "").await.1;
        assert!(
            String::from_utf8_lossy(&list).contains("<a href=\"b%20c%2Etxt\">b c.txt</a>"),
            "{list:?}"
        );
        assert_eq!(ask(www, "GET", "/a", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(www, "DELETE", "/a/b%20c.txt", "").await.0, StatusCode::NO_CONTENT);
        assert_eq!(ask(www, "GET", "/a/b%20c.txt", "").await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn no_name_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let www = dir.path().join("www");
        std::fs::create_dir(&www).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        for path in [
            "/../secret",
            "/%2e%2e/secret",
            "/a/..%2f..%2fsecret",
            "//secret",
            "/.upload-x",
            "/%00",
        ] {
            assert_eq!(ask(&www, "GET", path, "").await.0, StatusCode::BAD_REQUEST, "{path}");
        }
    }
}
