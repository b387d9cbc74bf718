//! Ranges: bombs, overlaps, odd units and conditions get the whole, a part of it, or a refusal, and never more bytes than
//! there are.

use super::{Wire, gate, recorder::Recorder};

/// What ranges are cut from.
fn artifact() -> Vec<u8> {
    (0..1024u32).flat_map(|n| n.to_be_bytes()).collect()
}

#[test]
fn range_bombs_and_weak_conditions_get_what_is_there() {
    let upstream = Recorder::start();
    let gate = gate(upstream.url(), "");
    let body = artifact();
    let put = gate.put("/t/ranged", &body);
    assert_eq!(put.status, 201);
    let thousand = |each: &str| vec![each; 1000].join(",");
    let many: Vec<String> = (0..1000).map(|n| format!("{}-{}", n * 2, n * 2 + 1)).collect();
    let date = "If-Range: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    // The request's lines, and which statuses may follow.
    let cases: Vec<(String, &[u16])> = vec![
        (format!("Range: bytes={}\r\n", thousand("0-")), &[200, 416]),
        (format!("Range: bytes={}\r\n", thousand("0-4095")), &[200, 416]),
        (format!("Range: bytes={}\r\n", thousand("-4096")), &[200, 416]),
        (format!("Range: bytes={}\r\n", many.join(",")), &[200, 206, 416]),
        ("Range: bytes=0-,0-,0-\r\n".to_owned(), &[200, 206, 416]),
        ("Range: bytes=0-3,2-5,4-7\r\n".to_owned(), &[200, 206]),
        ("Range: bytes=0-3,100-103\r\n".to_owned(), &[200, 206]),
        ("Range: bytes=0-3\r\n".to_owned(), &[206]),
        ("Range: bytes=-4\r\n".to_owned(), &[206]),
        ("Range: bytes=4092-99999999\r\n".to_owned(), &[206]),
        ("Range: bytes=18446744073709551616-\r\n".to_owned(), &[200, 416]),
        ("Range: bytes=0-18446744073709551616\r\n".to_owned(), &[200, 206]),
        (
            "Range: bytes=18446744073709551615-18446744073709551615\r\n".to_owned(),
            &[200, 416],
        ),
        ("Range: bytes=-0\r\n".to_owned(), &[200, 416]),
        ("Range: bytes=9-1\r\n".to_owned(), &[200, 400]),
        ("Range: bytes=\r\n".to_owned(), &[200, 400]),
        ("Range: bytes=a-b\r\n".to_owned(), &[200, 400]),
        ("Range: pages=1-2\r\n".to_owned(), &[200]),
        ("Range: bytes=0-3\r\nRange: bytes=4-7\r\n".to_owned(), &[200, 206, 400]),
        ("Range: bytes=0-3\r\nIf-Range: W/\"weak\"\r\n".to_owned(), &[200]),
        ("Range: bytes=0-3\r\nIf-Range: \"other\"\r\n".to_owned(), &[200]),
        (format!("Range: bytes=0-3\r\n{date}"), &[200]),
        ("Range: bytes=0-3\r\nIf-Range: evil\r\n".to_owned(), &[200]),
    ];
    for (lines, statuses) in &cases {
        let what = &lines[..lines.len().min(60)];
        let mut wire = Wire::open(gate.addr);
        wire.send(format!("GET /t/ranged HTTP/1.1\r\nHost: h\r\n{lines}\r\n").as_bytes());
        let answer = wire.answer(false).unwrap();
        assert!(
            statuses.contains(&answer.status) && answer.whole,
            "{what}: {}",
            answer.head
        );
        assert!(
            answer.body.len() <= 2 * body.len() + 128 * many.len(),
            "{what}: {} bytes",
            answer.body.len()
        );
        match (answer.status, answer.of("content-range").as_slice()) {
            (200, []) => assert_eq!(answer.body, body, "{what}"),
            (206, [range]) => {
                let (from, to) = range["bytes ".len()..]
                    .split_once('/')
                    .unwrap()
                    .0
                    .split_once('-')
                    .unwrap();
                let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
                assert_eq!(answer.body, &body[from..=to], "{what}");
            }
            // Each part is somewhere in the whole: four octets tell where.
            (206, []) => assert!(
                answer.of("content-type")[0].starts_with("multipart/byteranges"),
                "{what}"
            ),
            (400 | 416, _) => assert!(answer.body.len() < 1024, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        // The connection is where it should be: the next answer on it is the next request's.
        wire.send(b"GET /t/ranged HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(
            wire.answer(false).map(|answer| answer.body),
            Some(body.clone()),
            "{what}"
        );
    }
    // The file is small: that all of them together made few requests of the upstream is the cache's promise, not this
    // one's; that none of them reached it as a range is.
    assert!(
        upstream
            .messages()
            .iter()
            .all(|message| !message.head.to_ascii_lowercase().contains("\r\nrange:"))
    );
    assert_eq!(upstream.faults(), [""; 0]);
    crate::figure(&format!("framing: {} range cases", cases.len()));
}
