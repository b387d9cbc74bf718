//! A report for people: findings, then how each client fares, then how much was read and whether it is sound.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    inspect::{Client, Counts, Effect, Reason, Report, Severity, Verdict},
    terminal::printable,
};

/// A report on the repository at a metadata URL.
pub struct Shown<'a> {
    /// What was found.
    pub report: &'a Report,
    /// Where: the view `prefixes` lies there, `succinct` in the folder below it.
    pub metadata_url: &'a str,
}

/// Findings of a severity.
pub fn count(report: &Report, severity: Severity) -> usize {
    let of = report.findings.iter().filter(|finding| finding.severity == severity);
    of.count()
}

/// `1 error`, `2 errors`.
pub fn number(count: usize, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        for finding in &report.findings {
            let place = finding.place.to_string();
            writeln!(
                f,
                "{:<7} {:<22} {}: {}",
                finding.severity,
                finding.code,
                printable(&place),
                printable(&finding.message)
            )?;
        }
        for (code, more) in &report.more {
            writeln!(f, "        {code:<22} and {more} more like these")?;
        }
        if !report.findings.is_empty() {
            writeln!(f)?;
        }
        self.clients(f)?;
        let Counts {
            roots,
            listed,
            roles,
            targets,
            downloaded,
            failed,
            bytes,
            requests,
        } = report.counts;
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        writeln!(
            f,
            "\n{roots} roots, {roles} of {listed} roles, {targets} targets in them, {downloaded} downloaded ({bytes} \
             bytes){failed}; {requests} requests, seed {}",
            report.seed
        )?;
        if report.is_clean() {
            let notes = match count(report, Severity::Note) {
                0 => String::new(),
                notes => format!(", {}", number(notes, "note")),
            };
            writeln!(f, "sound: no errors, no warnings{notes}")?;
        }
        Ok(())
    }
}

impl Shown<'_> {
    /// What every client meets is told once; what one does not like about one of two views is no fault of that view.
    fn clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clients: BTreeMap<Client, Vec<&Verdict>> = BTreeMap::new();
        for verdict in &self.report.clients {
            clients.entry(verdict.client).or_default().push(verdict);
        }
        match clients.values().any(|views| views.len() > 1) {
            true => {
                let url = printable(self.metadata_url.trim_end_matches('/'));
                writeln!(f, "clients, and the metadata URL that is for them:")?;
                writeln!(f, "  `prefixes` is {url}/ (path_hash_prefixes)")?;
                writeln!(f, "  `succinct` is {url}/succinct/ (succinct_roles)")?;
            }
            false => writeln!(f, "clients:")?,
        }
        let shared = shared(&self.report.clients);
        if !shared.is_empty() {
            writeln!(f, "  {:<22} fails", "every client")?;
            for text in &shared {
                writeln!(f, "  {:<22} - {}", "", printable(text))?;
            }
        }
        for (client, views) in clients {
            writeln!(f, "  {:<22} {}", client.name(), outcome(&views))?;
            for (text, view) in reasons(&views, &shared) {
                writeln!(f, "  {:<22} - {view}{}", "", printable(&text))?;
            }
        }
        Ok(())
    }
}

/// What makes every client fail in every view.
fn shared(verdicts: &[Verdict]) -> Vec<String> {
    let fails = |reason: &&Reason| reason.effect == Effect::Fails;
    let Some(first) = verdicts.first() else {
        return Vec::new();
    };
    let everywhere = |reason: &&Reason| verdicts.iter().all(|verdict| verdict.reasons.contains(reason));
    let shared = first.reasons.iter().filter(fails).filter(everywhere);
    shared.map(|reason| reason.text.clone()).collect()
}

/// How a client fares in the view that is best for it.
fn outcome(views: &[&Verdict]) -> String {
    let best = views.iter().map(|verdict| verdict.verdict).min();
    let best = best.unwrap_or(Effect::Works);
    let good: Vec<_> = views.iter().filter(|verdict| verdict.verdict == best).collect();
    match (best, &good[..]) {
        (_, _) if views.len() < 2 => best.to_string(),
        (Effect::Fails, _) => "fails in both".to_owned(),
        (_, [only]) => format!("{best}: use `{}`", only.view),
        _ => format!("{best} in both"),
    }
}

/// Reasons that are not shared by all, each once, with the view that it is about.
fn reasons(views: &[&Verdict], shared: &[String]) -> Vec<(String, String)> {
    let (mut told, mut seen) = (Vec::new(), BTreeSet::new());
    for verdict in views {
        for reason in &verdict.reasons {
            if shared.contains(&reason.text) || !seen.insert(&reason.text) {
                continue;
            }
            let everywhere = views.iter().all(|view| view.reasons.contains(reason));
            let comment = if reason.effect == Effect::Works { " (note)" } else { "" };
            let view = match everywhere {
                true => String::new(),
                false if reason.effect == Effect::Fails => format!("not `{}`: ", verdict.view),
                false => format!("`{}`: ", verdict.view),
            };
            told.push((format!("{}{comment}", reason.text), view));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(view: &'static str, reasons: &[(Effect, &str)]) -> Verdict {
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(effect, text)| Reason {
                effect: *effect,
                ..crate::compat::fails(*text)
            })
            .collect();
        let worst = reasons.iter().map(|reason| reason.effect).max();
        Verdict {
            client: Client::Tough,
            view,
            verdict: worst.unwrap_or(Effect::Works),
            reasons,
        }
    }

    #[test]
    fn a_client_is_sent_to_the_view_that_is_for_it() {
        let (good, bad) = (verdict("prefixes", &[]), verdict("succinct", &[(Effect::Fails, "why")]));
        assert_eq!(outcome(&[&good, &bad]), "works: use `prefixes`");
        assert_eq!(outcome(&[&good, &good]), "works in both");
        assert_eq!(outcome(&[&bad, &bad]), "fails in both");
        assert_eq!(outcome(&[&bad]), "fails");
        let told = reasons(&[&good, &bad], &[]);
        assert_eq!(told, [("why".to_owned(), "not `succinct`: ".to_owned())]);
    }

    #[test]
    fn what_all_clients_meet_is_told_once() {
        let here = verdict("prefixes", &[(Effect::Fails, "gone"), (Effect::Works, "odd")]);
        let there = verdict("succinct", &[(Effect::Fails, "gone"), (Effect::Fails, "why")]);
        let shared = shared(&[here.clone(), there.clone()]);
        assert_eq!(shared, ["gone"]);
        let told = reasons(&[&here, &there], &shared);
        assert_eq!(told.len(), 2, "{told:?}");
    }
}
