//! Whom a question goes to, and when it ends.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use super::*;
use crate::client::{
    error::{Attack, refused},
    fetch::{FetchError, Timeouts},
};

fn mirrors(count: usize) -> Mirrors {
    let urls: Vec<_> = (0..count).map(|at| format!("http://m{at}/")).collect();
    Mirrors::parse(&urls).unwrap()
}

fn heard(retries: u32) -> (Fetcher, Arc<Mutex<Vec<Notice>>>) {
    let heard = Arc::<Mutex<Vec<Notice>>>::default();
    let hears = heard.clone();
    let fetcher = Fetcher::new(Timeouts::default())
        .with_retries(retries)
        .with_notices(move |notice| hears.lock().unwrap().push(notice.clone()));
    (fetcher, heard)
}

fn broken() -> ClientError {
    let (url, detail) = ("u".to_owned(), "broke".to_owned());
    FetchError::Broken { url, detail }.into()
}

fn absent() -> ClientError {
    let (url, status) = ("u".to_owned(), http::StatusCode::NOT_FOUND);
    let retry_after = None;
    FetchError::Status {
        url,
        status,
        retry_after,
        problem: None,
    }
    .into()
}

fn lie() -> ClientError {
    refused("f", Attack::ArbitrarySoftware, "not signed")
}

/// Who is asked when each says this, and how it ends.
async fn asked(mirrors: &Mirrors, fetcher: &Fetcher, says: &[fn() -> ClientError]) -> (Vec<String>, ClientError) {
    let mut tries = mirrors.tries(fetcher);
    let mut asked = Vec::new();
    while let Some(base) = tries.next().await {
        asked.push(base.as_str()[7..9].to_owned());
        let at: usize = base.as_str()[8..9].parse().unwrap();
        tries.failed(says[at]());
    }
    (asked, tries.into_error())
}

#[tokio::test]
async fn what_may_pass_is_asked_again_and_what_is_refused_is_not() {
    let (fetcher, heard) = heard(2);
    let (asked, error) = asked(&mirrors(3), &fetcher, &[broken, lie, absent]).await;
    assert_eq!(asked, ["m0", "m1", "m2", "m0", "m0"]);
    assert_eq!(error.attack(), Some(Attack::ArbitrarySoftware));
    let said = error.to_string();
    let (lie, broke, missing) = (said.find("not signed"), said.find("broke"), said.find("404"));
    assert!(lie.is_some() && lie < broke && broke < missing, "{said}");
    let notices = heard.lock().unwrap();
    let retries = notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Retrying { .. }));
    assert_eq!(retries.count(), 2);
    assert!(matches!(&notices[0], Notice::PassedOver { mirror, .. } if mirror == "http://m0/"));
}

#[tokio::test]
async fn the_mirror_that_served_last_is_asked_first() {
    let (fetcher, _) = heard(0);
    let mirrors = mirrors(3);
    let mut tries = mirrors.tries(&fetcher);
    tries.next().await.unwrap();
    tries.failed(absent());
    assert_eq!(tries.next().await.unwrap().as_str(), "http://m1/");
    tries.served();
    assert_eq!(mirrors.current().as_str(), "http://m1/");
    let (order, _) = asked(&mirrors, &fetcher, &[broken, broken, broken]).await;
    assert_eq!(order, ["m1", "m0", "m2"]);
    assert_eq!(
        mirrors.current().as_str(),
        "http://m0/",
        "all failed: as the user ordered them"
    );
}

#[tokio::test]
async fn an_outage_is_waited_for_once() {
    let (fetcher, _) = heard(1);
    let mirrors = mirrors(1);
    assert_eq!(asked(&mirrors, &fetcher, &[broken]).await.0.len(), 2);
    assert_eq!(asked(&mirrors, &fetcher, &[broken]).await.0.len(), 1);
    let mut tries = mirrors.tries(&fetcher);
    tries.next().await.unwrap();
    tries.served();
    assert_eq!(asked(&mirrors, &fetcher, &[broken]).await.0.len(), 2, "it came back");
    let (_, error) = asked(&mirrors, &fetcher, &[lie]).await;
    assert!(
        matches!(error, ClientError::Refused { .. }),
        "the only mirror speaks for itself"
    );
}

#[tokio::test]
async fn a_server_that_names_a_time_is_given_it() {
    fn busy() -> ClientError {
        let (url, status) = ("u".to_owned(), http::StatusCode::SERVICE_UNAVAILABLE);
        let retry_after = Some(Duration::from_secs(1));
        FetchError::Status {
            url,
            status,
            retry_after,
            problem: None,
        }
        .into()
    }
    let (fetcher, heard) = heard(1);
    asked(&mirrors(1), &fetcher, &[busy]).await;
    let notices = heard.lock().unwrap();
    assert!(matches!(&notices[..], [Notice::Retrying { after, .. }] if *after == Duration::from_secs(1)));
}

#[test]
fn at_least_one_and_all_good() {
    assert!(Mirrors::parse(&[]).is_err());
    assert!(Mirrors::parse(&["http://h/".into(), "ftp://h/".into()]).is_err());
}
