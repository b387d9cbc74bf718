use super::*;
use crate::inspect::Place;

#[test]
fn what_is_broken_is_broken_for_all_who_read_it() {
    let finding = |code, severity, file: &str| Finding {
        code,
        severity,
        place: Place::file(file),
        message: "why".to_owned(),
    };
    let replaced = BTreeSet::from(["3.bins.json".to_owned()]);
    let fares = |finding: Finding| {
        let told = verdicts(&Facts::served(), Some((&Facts::served(), &replaced)), &[finding]);
        let fails = |view| {
            let here = told.iter().filter(|verdict| verdict.view == view);
            here.filter(|verdict| verdict.verdict == Effect::Fails).count()
        };
        (fails("prefixes"), fails("succinct"))
    };
    let error = Severity::Error;
    assert_eq!(fares(finding(Code::Expired, error, "timestamp.json")), (9, 9));
    assert_eq!(fares(finding(Code::Expired, error, "3.bins.json")), (9, 0));
    assert_eq!(fares(finding(Code::Expired, error, "succinct/3.bins.json")), (0, 9));
    assert_eq!(
        fares(finding(Code::Expired, Severity::Warning, "timestamp.json")),
        (0, 0)
    );
    assert_eq!(fares(finding(Code::FileChanged, error, "timestamp.json")), (0, 0));
}
