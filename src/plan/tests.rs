#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::signer::tests::tuf;

fn ask(targets: u64, rate: f64) -> Ask {
    let mut sample = Sample::new().unwrap();
    sample.made_up();
    Ask {
        targets,
        rate,
        uses: 1,
        bins: Vec::new(),
        sample,
    }
}

fn costs<'a>(choice: &'a Choice, client: &str) -> &'a Costs {
    choice.clients.iter().find(|costs| costs.client == client).unwrap()
}

#[tokio::test]
async fn what_is_chosen_is_what_the_signer_would_grow_to() {
    let counts = async |targets| {
        let ask = Ask {
            bins: vec![16],
            ..ask(targets, 1.0)
        };
        plan(&ask, &tuf()).await.chosen
    };
    assert_eq!(counts(0).await, 16);
    assert_eq!(counts(16_000).await, 16);
    assert_eq!(counts(16_001).await, 64);
    assert_eq!(counts(1_000_000).await, 1_024);
    assert_eq!(counts(50_000_000).await, 4_096, "no more than `max_bins`");
}

#[tokio::test]
async fn more_bins_cost_a_new_user_more_and_a_release_less() {
    let ask = Ask {
        bins: vec![16, 64, 1_024, 4_096],
        ..ask(1_000_000, 1_000.0)
    };
    let planned = plan(&ask, &tuf()).await;
    assert_eq!(planned.options.len(), 4);
    for pair in planned.options.windows(2) {
        let [few, many] = pair else { unreachable!() };
        assert!(few.files.bin.plain > many.files.bin.plain);
        assert!(few.files.snapshot.plain < many.files.snapshot.plain);
        assert!(costs(few, "tough").new_user.requests < costs(many, "tough").new_user.requests);
    }
    let of = |bins| planned.options.iter().find(|choice| choice.bins == bins).unwrap();
    assert!(of(16).overfull && !of(1_024).overfull);
    let python = costs(of(1_024), "python-tuf");
    assert_eq!(
        python.new_user.requests, 6.0,
        "no newer root, timestamp, snapshot, targets, bins, bin"
    );
    assert_eq!(python.release.requests, 4.0);
    assert!((python.returning.requests - 3.62).abs() < 0.01, "{python:?}");
    assert_eq!(costs(of(1_024), "tough").release.requests, 1_029.0);
    assert!(costs(of(4_096), "tuf-js").seconds > 2.0);
}

#[tokio::test]
async fn clients_that_could_not_read_so_many_are_named() {
    let mut tuf = tuf();
    tuf.clients.push(compat::Client::PhpTuf);
    let ask = Ask {
        bins: vec![256, 1_024],
        ..ask(1_000_000, 1.0)
    };
    let planned = plan(&ask, &tuf).await;
    let broken = planned.options.iter().filter(|choice| !choice.breaks.is_empty());
    assert_eq!(broken.map(|choice| choice.bins).collect::<Vec<_>>(), [1_024]);
}

#[tokio::test]
async fn nothing_to_plan_for_is_fine() {
    let planned = plan(&ask(0, 0.0), &tuf()).await;
    let empty = &planned.options[0];
    assert_eq!(empty.files.bin_targets, 0.0);
    assert!(costs(empty, "python-tuf").new_user.bytes > 0.0);
}
