//! An upstream with a zone for each way to guard artifacts and each way to mark answers: what it refuses, the gate must.

use std::fs;

use crate::support::nginx::Nginx;

/// Who may read a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Guard {
    /// Everybody.
    Open,
    /// `Authorization: Basic`, by a password file.
    Basic,
    /// `Authorization: Bearer`, by a map of tokens.
    Bearer,
    /// A session cookie.
    Cookie,
    /// `X-JFrog-Art-Api`.
    Key,
    /// Nobody: this status for all but uploads.
    Shut(u16),
    /// As `Bearer`; alice's token is revoked during the run.
    Revoked,
    /// Everybody at first; from the middle of the run on as `Bearer`.
    Closed,
}

/// A folder `/z/NAME/` of the upstream.
#[derive(Clone, Copy, Debug)]
pub struct Zone {
    pub name: &'static str,
    pub guard: Guard,
    /// Further directives of its location.
    pub marks: &'static str,
    /// An answer to somebody without credentials may be given again without asking (RFC 9111 section 4.2).
    pub reusable: bool,
    /// Where it sends its readers, if it does: a folder after `@SECOND@` or `@FIRST@`.
    pub leads: Option<&'static str>,
}

const fn zone(name: &'static str, guard: Guard, marks: &'static str, reusable: bool) -> Zone {
    Zone {
        name,
        guard,
        marks,
        reusable,
        leads: None,
    }
}

const fn leading(name: &'static str, guard: Guard, to: &'static str) -> Zone {
    Zone {
        leads: Some(to),
        ..zone(name, guard, "", true)
    }
}

const CLEAN: &str = "etag off; if_modified_since off; add_header Last-Modified \"\";";

/// Every zone.
pub const ZONES: &[Zone] = &[
    zone("open", Guard::Open, "", true),
    zone(
        "open-max-age-5",
        Guard::Open,
        "add_header Cache-Control max-age=5 always;",
        true,
    ),
    zone(
        "open-max-age-0",
        Guard::Open,
        "add_header Cache-Control max-age=0 always;",
        false,
    ),
    zone(
        "open-no-cache",
        Guard::Open,
        "add_header Cache-Control no-cache always;",
        false,
    ),
    zone(
        "open-no-store",
        Guard::Open,
        "add_header Cache-Control no-store always;",
        false,
    ),
    zone(
        "open-private",
        Guard::Open,
        "add_header Cache-Control private always;",
        false,
    ),
    zone(
        "open-s-maxage",
        Guard::Open,
        "add_header Cache-Control s-maxage=5 always;",
        true,
    ),
    zone(
        "open-s-maxage-0",
        Guard::Open,
        "add_header Cache-Control \"public, max-age=600, s-maxage=0\" always;",
        false,
    ),
    zone(
        "open-expired",
        Guard::Open,
        "add_header Expires \"Thu, 01 Jan 1970 00:00:01 GMT\" always;",
        false,
    ),
    zone(
        "open-vary-auth",
        Guard::Open,
        "add_header Vary Authorization always;",
        true,
    ),
    zone("open-vary-cookie", Guard::Open, "add_header Vary Cookie always;", true),
    zone(
        "open-vary-coding",
        Guard::Open,
        "add_header Vary Accept-Encoding always;",
        true,
    ),
    zone("open-vary-any", Guard::Open, "add_header Vary * always;", false),
    zone(
        "open-set-cookie",
        Guard::Open,
        "add_header Set-Cookie u=$request_id always;",
        true,
    ),
    zone(
        "open-weak",
        Guard::Open,
        "etag off; add_header ETag 'W/\"weak\"' always;",
        true,
    ),
    zone("open-bare", Guard::Open, CLEAN, true),
    zone("basic", Guard::Basic, "", true),
    zone(
        "basic-public",
        Guard::Basic,
        "add_header Cache-Control \"public, max-age=600\" always;",
        true,
    ),
    zone("bearer", Guard::Bearer, "", true),
    zone(
        "bearer-public",
        Guard::Bearer,
        "add_header Cache-Control \"public, max-age=600, immutable\" always;",
        true,
    ),
    zone(
        "bearer-s-maxage",
        Guard::Bearer,
        "add_header Cache-Control s-maxage=600 always;",
        true,
    ),
    zone(
        "bearer-set-cookie",
        Guard::Bearer,
        "add_header Set-Cookie u=$request_id always;",
        true,
    ),
    zone(
        "bearer-vary",
        Guard::Bearer,
        "add_header Vary Authorization always;",
        true,
    ),
    zone(
        "bearer-weak",
        Guard::Bearer,
        "etag off; add_header ETag 'W/\"weak\"' always;",
        true,
    ),
    zone("bearer-bare", Guard::Bearer, CLEAN, true),
    zone("cookie", Guard::Cookie, "", true),
    zone(
        "cookie-vary",
        Guard::Cookie,
        "add_header Vary Cookie always; add_header Cache-Control \"public, max-age=600\" always;",
        true,
    ),
    zone(
        "key",
        Guard::Key,
        "add_header Cache-Control \"public, max-age=600\" always;",
        true,
    ),
    zone("shut-403", Guard::Shut(403), "", true),
    zone(
        "shut-404",
        Guard::Shut(404),
        "add_header Cache-Control \"public, max-age=600\" always;",
        true,
    ),
    zone("shut-407", Guard::Shut(407), "", true),
    zone("shut-429", Guard::Shut(429), "add_header Retry-After 7 always;", true),
    zone("shut-451", Guard::Shut(451), "", true),
    zone("shut-503", Guard::Shut(503), "", true),
    zone("revoked", Guard::Revoked, "", true),
    zone(
        "revoked-public",
        Guard::Revoked,
        "add_header Cache-Control \"public, max-age=600\" always;",
        true,
    ),
    zone("closed", Guard::Closed, "", true),
    zone(
        "closed-no-cache",
        Guard::Closed,
        "add_header Cache-Control no-cache always;",
        false,
    ),
    leading("moved", Guard::Open, "@SECOND@/moved/open/"),
    leading("moved-basic", Guard::Open, "@SECOND@/moved/basic/"),
    leading("moved-bearer", Guard::Bearer, "@SECOND@/moved/open/"),
    leading("moved-home", Guard::Open, "@FIRST@/z/basic/"),
    leading("moved-elsewhere", Guard::Open, "@ELSEWHERE@/moved/open/"),
];

impl Zone {
    /// The gate has a record of what was laid here for it: uploaded, or read by its own identity, which opens no password
    /// and goes to no other host.
    pub fn recorded(&self) -> bool {
        self.leads.is_none_or(|to| to == "@SECOND@/moved/open/")
    }
}

/// A zone by its name.
pub fn named(name: &str) -> &'static Zone {
    ZONES.iter().find(|zone| zone.name == name).unwrap()
}

/// What the maps of `nginx` hold before and after the change in the middle of a run.
const REVOKED: [&str; 2] = [
    "\"Bearer token-alice\" alice; \"Bearer token-bob\" bob; \"Bearer token-gate\" gate;",
    "\"Bearer token-bob\" bob; \"Bearer token-gate\" gate;",
];
const CLOSED: [&str; 2] = ["default open;", "default closed;"];

const MAPS: &str = r#"
    map $http_authorization $bearer {
        default "";
        "Bearer token-alice" alice;
        "Bearer token-bob" bob;
        "Bearer token-gate" gate;
        "Bearer token-expired" expired;
        "Bearer token-foreign" foreign;
    }
    map $http_authorization $revocable { default ""; include @DIR@/revoked.map; }
    map $request_method $door { include @DIR@/closed.map; }
    map "$door:$bearer" $at_the_door { default ""; "~^open:" open; "~^closed:(alice|bob|gate)$" open; }
    map $cookie_session $cookie { default ""; session-alice alice; session-bob bob; session-expired expired; }
    map $http_x_jfrog_art_api $key { default ""; key-alice alice; key-bob bob; key-foreign foreign; }
    map $bearer $challenge {
        default "";
        "" 'Bearer realm="r-$request_id"';
        expired 'Bearer realm="r-$request_id", error="invalid_token"';
    }
"#;

impl Guard {
    fn directives(self) -> String {
        match self {
            Self::Open => String::new(),
            Self::Basic => "auth_basic \"r-$request_id\"; auth_basic_user_file @DIR@/passwords;".to_owned(),
            Self::Bearer => "if ($bearer = \"\") { return 401; } if ($bearer = expired) { return 401; } if ($bearer = \
                             foreign) { return 403; } add_header WWW-Authenticate $challenge always;"
                .to_owned(),
            Self::Cookie => "if ($cookie = \"\") { return 403; } if ($cookie = expired) { return 401; }".to_owned(),
            Self::Key => "if ($key = \"\") { return 401; } if ($key = foreign) { return 403; }".to_owned(),
            Self::Shut(status) => format!("if ($request_method != PUT) {{ return {status}; }}"),
            Self::Revoked => "if ($revocable = \"\") { return 401; }".to_owned(),
            Self::Closed => "if ($at_the_door = \"\") { return 401; }".to_owned(),
        }
    }
}

/// The upstream, and a second server that it sends readers to.
pub struct Upstream {
    pub first: Nginx,
    pub second: Nginx,
}

impl Upstream {
    /// Starts both, before the change.
    pub fn start() -> Self {
        let files = [("passwords", "alice:{PLAIN}secret-a\nbob:{PLAIN}secret-b\n")];
        let second = Nginx::start_as(
            "",
            "location /moved/basic/ { auth_basic \"r-$request_id\"; auth_basic_user_file @DIR@/passwords; add_header \
             X-Echo $request_id always; }\n location / { add_header X-Echo $request_id always; }",
            &files,
        );
        let mut server = String::new();
        for zone in ZONES {
            let lead = zone.leads.map_or(String::new(), |to| {
                let to = to
                    .replace("@SECOND@", &second.url())
                    .replace("@FIRST@", "http://$http_host")
                    .replace("@ELSEWHERE@", &second.url().replace("127.0.0.1", "localhost"));
                format!("rewrite ^/z/{}/(.*)$ {to}$1 redirect;", zone.name)
            });
            server.push_str(&format!(
                "location /z/{}/ {{ {} {lead} {} add_header X-Echo $request_id always; add_header X-Who \
                 \"$remote_user$bearer$cookie$key\" always; }}\n",
                zone.name,
                zone.guard.directives(),
                zone.marks,
            ));
        }
        let files = [files[0], ("revoked.map", REVOKED[0]), ("closed.map", CLOSED[0])];
        Self {
            first: Nginx::start_as(MAPS, &server, &files),
            second,
        }
    }

    /// Revokes alice's token in the zones `revoked` and closes the zones `closed`; from now on this is how things stand.
    pub fn change(&self) {
        for (name, text) in [("revoked.map", REVOKED[1]), ("closed.map", CLOSED[1])] {
            fs::write(self.first.dir().join(name), text).unwrap();
        }
        self.first.reload();
    }
}
