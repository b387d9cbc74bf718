#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{
    inspect::graph::Graph,
    tuf::{
        layout::Generation,
        verify::testing::{id, key, keys},
    },
};

fn read(rest: Value) -> (Option<Delegations>, Vec<&'static str>) {
    let mut value = json!({"keys": keys(&[&key(1)])});
    value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let (mut facts, mut findings) = (Facts::default(), Findings::default());
    let read = Delegations::read(Some(&value), &Place::file("x"), &mut facts, &mut findings);
    (read, findings.codes())
}

fn role(name: &str, terminating: bool, what: &str, patterns: &[&str]) -> Value {
    json!({"name": name, "keyids": [id(&key(1))], "threshold": 1, "terminating": terminating, what: patterns})
}

fn graph(of: &[(&str, Value)]) -> Graph {
    let mut graph = Graph::default();
    for (name, roles) in of {
        graph.add(name, Arc::new(read(json!({"roles": roles})).0.unwrap()));
    }
    graph
}

#[test]
fn a_client_visits_roles_in_order_until_a_terminating_one() {
    let graph = graph(&[
        (
            "targets",
            json!([
                role("a", false, "paths", &["x/*"]),
                role("b", true, "paths", &["x/1", "y"]),
                role("c", false, "path_hash_prefixes", &[""])
            ]),
        ),
        ("a", json!([role("d", false, "paths", &["x/*"])])),
    ]);
    assert_eq!(graph.visits("x/1", "targets"), Some(1));
    assert_eq!(graph.visits("x/1", "a"), Some(2));
    assert_eq!(graph.visits("x/1", "d"), Some(3));
    assert_eq!(graph.visits("x/1", "b"), Some(4));
    assert_eq!(graph.visits("x/1", "c"), None, "b ends the search");
    assert!(graph.hidden("x/1", "c") && !graph.hidden("z", "a"));
    assert_eq!(graph.visits("x/2", "c"), Some(4));
    assert_eq!(graph.visits("z", "c"), Some(2));
    assert_eq!(graph.visits("z", "a"), None);
}

#[test]
fn both_forms_of_bins_lead_to_the_same_bin() {
    let generation = Generation::of(32).unwrap();
    let named: Vec<_> = (0..32)
        .map(|bin| {
            let prefixes = generation.hash_prefixes(bin);
            let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
            role(&generation.name(bin), true, "path_hash_prefixes", &prefixes)
        })
        .collect();
    let succinct = json!({
        "keyids": [id(&key(1))], "threshold": 1, "bit_length": 5, "name_prefix": "bins5",
    });
    let (named, none) = read(json!({"roles": named}));
    let (succinct, neither) = read(json!({"succinct_roles": succinct}));
    assert!(none.is_empty() && neither.is_empty());
    let (named, succinct) = (named.unwrap(), succinct.unwrap());
    for number in 0..200 {
        let path = format!("some/path-{number}");
        let id = Digest::of(&path);
        assert_eq!(named.candidates(&path, &id), succinct.candidates(&path, &id));
    }
}

#[test]
fn circles_are_found() {
    let to = |name: &str| json!([role(name, false, "paths", &["*"])]);
    let circle = graph(&[("targets", to("a")), ("a", to("b")), ("b", to("a"))]);
    assert_eq!(circle.cycle().unwrap().len(), 3);
    assert_eq!(circle.visits("x", "b"), Some(3), "each role is visited once");
    assert!(
        graph(&[("targets", to("a")), ("a", to("b")), ("b", to("c"))])
            .cycle()
            .is_none()
    );
}

#[test]
fn delegations_that_contradict_themselves_are_told() {
    for bad in [
        json!({}),
        json!({"roles": [role("timestamp", true, "paths", &["*"])]}),
        json!({"roles": [role("a", true, "other", &["*"])]}),
        json!({"roles": [role("a", true, "path_hash_prefixes", &["AB"])]}),
        json!({"roles": [role("a", true, "path_hash_prefixes", &["0", "1"])]}),
        json!({"roles": [role("a", true, "paths", &["0"]), role("a", true, "paths", &["1"])]}),
        json!({"roles": [{"keyids": [], "threshold": 1}]}),
        json!({"succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 33, "name_prefix": "b"}}),
    ] {
        assert!(read(bad.clone()).1.contains(&"delegation-invalid"), "{bad}");
    }
}
