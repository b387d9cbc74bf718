//! What servers may do wrong, each bounded in time and memory.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Instant;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Serves every connection these bytes, then the same `more` over and over until the client goes away; says what was
/// asked.
async fn serve(head: &'static [u8], more: &'static [u8], pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/f", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = connection.read(&mut asked).await;
                let mut sent = connection.write_all(head).await;
                while sent.is_ok() && !more.is_empty() {
                    tokio::time::sleep(pause).await;
                    sent = connection.write_all(more).await;
                }
            });
        }
    });
    url
}

fn quick() -> Fetcher {
    Fetcher::new(Timeouts {
        connect: Duration::from_secs(5),
        idle: Duration::from_secs(2),
        total: Duration::from_secs(1),
        min_rate: 1000,
    })
}

async fn outcome(head: &'static [u8], more: &'static [u8], pause: Duration) -> FetchError {
    let url = serve(head, more, pause).await;
    let begun = Instant::now();
    let error = quick().bytes(&url, 100_000).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    error
}

const NONE: Duration = Duration::ZERO;

#[tokio::test]
async fn drips_stalls_and_silence_end() {
    let tick = Duration::from_millis(50);
    let drip = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"x", tick).await;
    assert!(matches!(drip, FetchError::Timeout { what: "too slow", .. }), "{drip}");
    let chunks = outcome(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n",
        tick,
    )
    .await;
    assert!(
        matches!(chunks, FetchError::Timeout { what: "too slow", .. }),
        "{chunks}"
    );
    let stall = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", b"", NONE).await;
    assert!(matches!(stall, FetchError::Broken { .. }), "{stall}");
    let head = outcome(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", tick).await;
    assert!(matches!(head, FetchError::Timeout { what: "no answer", .. }), "{head}");
}

#[tokio::test]
async fn a_body_that_keeps_its_pace_may_take_its_time() {
    // 4,000 bytes each 100 ms, for longer than `total`.
    static PIECE: [u8; 4000] = [b'x'; 4000];
    let url = serve(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        &PIECE,
        Duration::from_millis(100),
    )
    .await;
    let begun = Instant::now();
    let ended = quick().bytes(&url, 80_000).await.unwrap_err();
    assert!(matches!(ended, FetchError::TooLong { .. }), "{ended}");
    assert!(
        begun.elapsed() > Duration::from_millis(1900),
        "it came faster than it should"
    );
}

#[tokio::test]
async fn floods_of_heads_and_garbage_end() {
    let informational = outcome(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", NONE).await;
    assert!(
        matches!(informational, FetchError::Timeout { .. } | FetchError::Broken { .. }),
        "{informational}"
    );
    for (head, more) in [
        (
            &b"HTTP/1.1 200 OK\r\n"[..],
            &b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"[..],
        ),
        (
            b"HTTP/1.1 200 OK\r\nX: ",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        (b"just the file, as HTTP/0.9 had it", b""),
        (b"\x16\x03\x01\x02\x00\x01", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc", b""),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
            b"",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n",
            b"",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3",
            b";extension=of a chunk that goes on and on",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"Trailer: of many\r\n",
        ),
    ] {
        let error = outcome(head, more, NONE).await;
        assert!(
            matches!(error, FetchError::Broken { .. } | FetchError::Timeout { .. }),
            "{}: {error}",
            String::from_utf8_lossy(head)
        );
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn codings_lengths_and_redirects_nobody_asked_for_are_refused() {
    let gzip = outcome(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"\x1f\x8b", NONE).await;
    assert!(
        matches!(&gzip, FetchError::Encoded { encoding, .. } if encoding == "gzip"),
        "{gzip}"
    );
    let long = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n", b"x", NONE).await;
    assert!(matches!(long, FetchError::TooLong { limit: 100_000, .. }), "{long}");
    let endless = outcome(b"HTTP/1.1 200 OK\r\n\r\n", &[7; 4096], NONE).await;
    assert!(matches!(endless, FetchError::TooLong { .. }), "{endless}");
    let moved = outcome(
        b"HTTP/1.1 302 Found\r\nLocation: http://o/x?signature=s\r\n\r\n",
        b"",
        NONE,
    )
    .await;
    let said = moved.to_string();
    assert!(
        matches!(moved, FetchError::Redirect { .. }) && said.contains("`http://o/x`"),
        "{said}"
    );
    let part = outcome(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/2\r\n\r\nab",
        b"",
        NONE,
    )
    .await;
    assert!(
        matches!(part, FetchError::Status { .. }),
        "a part nobody asked for: {part}"
    );
    for error in [gzip, long, endless, part] {
        assert!(!error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn redirects_of_targets_end_after_five() {
    let url = serve(
        b"HTTP/1.1 302 Found\r\nLocation: /f\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"",
        NONE,
    )
    .await;
    let ask = Ask {
        redirects: 5,
        ..Ask::whole(&url, 10)
    };
    let error = quick().open(ask).await.err().unwrap().to_string();
    assert!(error.contains("more than 5 in a row"), "{error}");
}

#[tokio::test]
async fn servers_say_when_to_ask_again() {
    let busy = outcome(
        b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        b"",
        NONE,
    )
    .await;
    assert_eq!(
        (busy.retry_after(), busy.is_transient()),
        (Some(Duration::from_secs(7)), true)
    );
    let tomorrow = outcome(
        b"HTTP/1.1 429 Much\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n",
        b"",
        NONE,
    )
    .await;
    assert!(!tomorrow.is_transient(), "nobody waits for a day");
    let missing = outcome(
        b"HTTP/1.1 404 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        b"",
        NONE,
    )
    .await;
    assert!(!missing.is_transient() && missing.is_absent());
}

#[tokio::test]
async fn those_who_judge_answers_themselves_get_them_all() {
    let url = serve(
        b"HTTP/1.1 500 Odd\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\nno",
        b"",
        NONE,
    )
    .await;
    let (status, headers, mut stream) = quick().ask(&url, 2).await.unwrap();
    assert!(status.as_u16() == 500 && headers[CONTENT_ENCODING] == "gzip");
    assert_eq!(stream.next().await.unwrap().unwrap(), "no");
}

fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, value.parse().unwrap())])
}

#[test]
fn a_date_to_retry_after_is_a_wait_from_now() {
    let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    for (text, seconds) in [
        ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("12", Some(12)),
        ("-1", None),
        ("soon", None),
    ] {
        let wait = retry_after(&headers(RETRY_AFTER, text), now);
        assert_eq!(wait, seconds.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn parts_are_read_as_they_are_written() {
    let part = |text| Part::parse(&headers(CONTENT_RANGE, text));
    let one = |total| Part {
        first: 5,
        last: 9,
        total,
    };
    assert_eq!(part("bytes 5-9/10"), Some(one(Some(10))));
    assert_eq!(part("bytes 5-9/*"), Some(one(None)));
    for bad in [
        "bytes */10",
        "5-9/10",
        "bytes 5-/10",
        "bytes -9/10",
        "bytes 5-9",
        "bytes 5-9/x",
        "lines 5-9/10",
    ] {
        assert_eq!(part(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn no_header_breaks_the_reader(text in "[ -~]{0,60}") {
        let _ = Part::parse(&headers(CONTENT_RANGE, &text));
        let _ = retry_after(&headers(RETRY_AFTER, &text), SystemTime::now());
    }
}

#[test]
fn authorities_are_certificates() {
    for bad in [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN",
    ] {
        assert!(quick().with_authorities(bad.as_bytes()).is_err(), "{bad}");
    }
}
