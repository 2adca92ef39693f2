//! How a password is asked for and checked. Played with a user name and password.

use super::super::script::{GUARD, Guard, PLAIN, Script};
use super::{Fault, refused, shown};
use crate::reason::Reason;

/// A camera with these challenges.
macro_rules! asks {
    ($($line:literal),*) => { asks!(GUARD; $($line),*) };
    ($guard:expr; $($line:literal),*) => {
        Script {
            guard: Some(Guard {
                challenges: &[$(concat!("WWW-Authenticate: ", $line)),*],
                ..$guard
            }),
            ..PLAIN
        }
    };
}

/// Takes any right answer, whatever it echoes.
const LENIENT: Guard = Guard {
    lenient: true,
    ..GUARD
};

pub(super) static ROWS: &[Fault] = &[
    // 1a
    shown(
        "digest-sha-without-qop",
        "It asks with SHA-256 and no qop, and takes MD5 for meant where the answer names no algorithm.",
        asks!(
            r#"Digest realm="IP Camera(GH455)", nonce="{nonce}", algorithm="SHA-256", stale="FALSE""#
        ),
    ),
    // 1b
    shown(
        "digest-without-algorithm-and-sha",
        "It asks twice: without algorithm, and with SHA-256.",
        asks!(
            r#"Digest realm="IP Camera(GH455)", nonce="{nonce}", stale="FALSE""#,
            r#"Digest realm="IP Camera(GH455)", nonce="{nonce}", algorithm="SHA-256", stale="FALSE""#
        ),
    ),
    // 11a
    shown(
        "digest-with-auth-int",
        "It offers qop auth and auth-int, with SHA-256 and opaque.",
        asks!(LENIENT; r#"Digest realm="r", nonce="{nonce}", qop="auth,auth-int", algorithm=SHA-256, opaque="o""#),
    ),
    shown(
        "digest-md5-with-auth-int-first",
        "It offers qop auth-int and auth, in this order, with MD5.",
        asks!(r#"Digest realm="r", nonce="{nonce}", qop="auth-int, auth", algorithm=MD5"#),
    ),
    shown(
        "digest-md5-echoes-exactly",
        "It asks without algorithm and qop, and refuses an answer that names them.",
        asks!(r#"Digest realm="cam", nonce="{nonce}""#),
    ),
    shown(
        "digest-algorithm-without-qop",
        "It names MD5 but no qop, and wants the algorithm back.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", algorithm=MD5"#),
    ),
    shown(
        "digest-md5-sess",
        "It asks with MD5-sess.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", algorithm=MD5-sess, qop="auth""#),
    ),
    shown(
        "digest-sha-sess",
        "It asks with SHA-256-sess.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", algorithm=SHA-256-sess, qop="auth""#),
    ),
    shown(
        "digest-sha-512",
        "It asks with SHA-512-256.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", algorithm=SHA-512-256, qop="auth""#),
    ),
    shown(
        "digest-opaque",
        "It wants its opaque back, odd characters and all.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", opaque="a=b,c;d/+==", qop="auth""#),
    ),
    shown(
        "digest-empty-opaque",
        "Its opaque is empty.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", opaque="", algorithm="MD5", qop="auth""#),
    ),
    // 11b
    shown(
        "digest-algorithm-in-lower-case",
        "It names md5 in lower case.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", algorithm=md5, qop="auth""#),
    ),
    // 11d
    shown(
        "digest-realm-in-utf-8",
        "Its realm has UTF-8 beyond ASCII; the hash is over the bytes sent.",
        asks!("Digest realm=\"Cam\u{c3}\u{a9}ra\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\""),
    ),
    shown(
        "digest-realm-in-latin",
        "Its realm is in Latin-1; the hash is over the bytes sent.",
        asks!("Digest realm=\"Cam\u{e9}ra\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\""),
    ),
    shown(
        "digest-realm-in-gbk",
        "Its realm is in GBK; the hash is over the bytes sent.",
        asks!("Digest realm=\"\u{c9}\u{e3}\u{cf}\u{f1}\", nonce=\"{nonce}\""),
    ),
    shown(
        "digest-realm-with-comma",
        "Its realm has commas, equals signs and brackets.",
        asks!(r#"Digest realm="Login to a1, no=b2 (main)", nonce="{nonce}", qop="auth""#),
    ),
    shown(
        "digest-realm-with-quotes",
        "Its realm has quotes, backslashes and commas, escaped as they must be.",
        asks!(
            r#"Digest realm="Cam \"A\" \\ b, nonce=c", nonce="{nonce}", algorithm=MD5, qop="auth""#
        ),
    ),
    shown(
        "digest-nonce-with-quotes",
        "Its nonce has commas, and quotes and backslashes that are escaped.",
        asks!(r#"Digest realm="cam", nonce="a,\"{nonce}\\=", qop="auth""#),
    ),
    shown(
        "digest-as-of-a-proxy",
        "It asks with 407 and Proxy-Authenticate in place of 401.",
        Script {
            guard: Some(Guard {
                challenges: &[
                    r#"Proxy-Authenticate: Digest realm="cam", nonce="{nonce}", algorithm=MD5, qop="auth""#,
                ],
                status: 407,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    shown(
        "digest-with-407",
        "It asks with 407 and WWW-Authenticate.",
        Script {
            guard: Some(Guard {
                status: 407,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    shown(
        "digest-twice-in-one-header",
        "It offers SHA-256 and MD5 in one header, in lower case and without quotes.",
        asks!(
            r"digest realm=cam,nonce={nonce},algorithm=sha-256,qop=auth,digest realm=cam,nonce={nonce},algorithm=md5,qop=auth"
        ),
    ),
    shown(
        "digest-empty-realm",
        "Its realm is empty.",
        asks!(r#"Digest realm="", nonce="{nonce}""#),
    ),
    // 11e
    shown(
        "digest-without-commas",
        "Spaces stand between the parts of its challenge instead of commas.",
        asks!(r#"Digest realm="r" nonce="{nonce}""#),
    ),
    // 11f
    shown(
        "digest-empty-qop",
        "Its qop is empty, to be answered as without.",
        asks!(r#"Digest realm="r", nonce="{nonce}", qop="""#),
    ),
    shown(
        "digest-without-quotes",
        "No value of its challenge is in quotation marks.",
        asks!(r"Digest realm=cam, nonce={nonce}, algorithm=MD5, qop=auth"),
    ),
    shown(
        "digest-without-spaces",
        "No space is behind the commas of its challenge.",
        asks!(r#"Digest realm="cam",nonce="{nonce}",algorithm="MD5",qop="auth""#),
    ),
    shown(
        "digest-with-spaces",
        "Many spaces stand in its challenge, around equals signs too.",
        asks!(r#"Digest   realm = "cam" ,  nonce = "{nonce}" , qop = "auth" "#),
    ),
    shown(
        "digest-with-tab",
        "A tab is behind `Digest`.",
        asks!("Digest\trealm=\"cam\", nonce=\"{nonce}\", qop=\"auth\""),
    ),
    shown(
        "digest-trailing-comma",
        "Its challenge ends with a comma and has an empty part.",
        asks!(r#"Digest realm="cam",, nonce="{nonce}", qop="auth","#),
    ),
    shown(
        "digest-scheme-in-lower-case",
        "It writes `digest`, and names in capitals.",
        asks!(r#"digest REALM="cam", NONCE="{nonce}", QOP="auth""#),
    ),
    shown(
        "digest-with-unknown-parts",
        "Its challenge has parts that do not matter: domain, charset, userhash, stale.",
        asks!(
            r#"Digest realm="cam", domain="/", nonce="{nonce}", charset=UTF-8, userhash=false, stale=false, foo, algorithm=MD5, qop="auth""#
        ),
    ),
    shown(
        "digest-behind-basic",
        "It offers Basic and then Digest in one header.",
        asks!(
            r#"Basic realm="cam", Digest realm="cam", nonce="{nonce}", algorithm=MD5, qop="auth""#
        ),
    ),
    shown(
        "digest-and-basic",
        "It offers Basic in one header and Digest in the next.",
        asks!(
            r#"Basic realm="cam""#,
            r#"Digest realm="cam", nonce="{nonce}", algorithm=MD5, qop="auth""#
        ),
    ),
    shown(
        "digest-behind-unknown",
        "It offers an unknown scheme, an unknown algorithm, and then MD5.",
        asks!(
            r"Negotiate",
            r#"X-Own token="abc""#,
            r#"Digest realm="cam", nonce="{nonce}", algorithm=SM3, qop="auth""#,
            r#"Digest realm="cam", nonce="{nonce}", algorithm=MD5, qop="auth""#
        ),
    ),
    shown(
        "digest-long-nonce",
        "Its nonce is long.",
        asks!(
            r#"Digest realm="cam", nonce="{nonce}MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", qop="auth""#
        ),
    ),
    // 12
    shown(
        "digest-refuses-sha-it-offers",
        "It offers SHA-256 and MD5 and refuses every answer with SHA-256.",
        asks!(
            Guard { refuses: &["SHA-256"], ..GUARD };
            r#"Digest realm="cam", nonce="{nonce}", algorithm=SHA-256, qop="auth""#,
            r#"Digest realm="cam", nonce="{nonce}""#
        ),
    ),
    shown(
        "digest-refuses-sha-512-it-offers",
        "It offers SHA-512-256, SHA-256 and MD5, and refuses the first.",
        asks!(
            Guard { refuses: &["SHA-512-256"], ..GUARD };
            r#"Digest realm="cam", nonce="{nonce}", algorithm=SHA-512-256, qop="auth""#,
            r#"Digest realm="cam", nonce="{nonce}", algorithm=SHA-256, qop="auth""#,
            r#"Digest realm="cam", nonce="{nonce}", algorithm=MD5, qop="auth""#
        ),
    ),
    // 27a
    shown(
        "digest-hangs-up",
        "It hangs up behind its 401 and serves a new connection whose first request is signed.",
        Script {
            guard: Some(Guard {
                hangs_up: true,
                ..GUARD
            }),
            ..PLAIN
        },
    )
    .connections(2),
    shown(
        "digest-nonce-serves-once",
        "Each nonce serves one request; the next is answered with 401 and stale.",
        asks!(
            Guard { uses: 1, ..GUARD };
            r#"Digest realm="cam", nonce="{nonce}", stale={stale}, qop="auth""#
        ),
    ),
    shown(
        "digest-nonce-changes-without-stale",
        "Each nonce serves two requests; it never says stale.",
        asks!(
            Guard { uses: 2, ..GUARD };
            r#"Digest realm="cam", nonce="{nonce}""#
        ),
    ),
    shown(
        "digest-nonce-of-connection",
        "Each connection has nonces of its own.",
        Script {
            guard: Some(Guard {
                nonce_per_connection: true,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    shown(
        "digest-counts",
        "It wants nc to count from 1.",
        Script {
            guard: Some(Guard {
                counts: true,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    shown(
        "digest-at-options",
        "It asks for the password at OPTIONS too.",
        Script {
            guard: Some(Guard {
                options_too: true,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    shown(
        "digest-header-in-lower-case",
        "It writes `www-authenticate`.",
        Script {
            guard: Some(Guard {
                challenges: &[r#"www-authenticate:Digest realm="cam",nonce="{nonce}",qop="auth""#],
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    shown(
        "digest-answers-without-phrase",
        "It asks with `RTSP/1.0 401` and no phrase.",
        Script {
            status_line: "RTSP/1.0 {status}",
            guard: Some(GUARD),
            ..PLAIN
        },
    ),
    shown(
        "digest-url-with-query",
        "Its URL has a query; the answer's uri must be that of the request.",
        Script {
            suffix: "/Streaming/Channels/101?transportmode=unicast&profile=Profile_1",
            guard: Some(GUARD),
            ..PLAIN
        },
    ),
    refused(
        "refuses-the-password",
        "It refuses every password.",
        &[Reason::CameraUnauthorized],
        "password",
        Script {
            guard: Some(Guard {
                refuses_all: true,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    refused(
        "forbids-the-user",
        "It answers 403: this user may not see the stream.",
        &[Reason::CameraUnauthorized],
        "403",
        Script {
            guard: Some(Guard {
                refuses_all: true,
                status: 403,
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    refused(
        "offers-basic-alone",
        "It offers Basic alone, which the settings do not allow.",
        &[Reason::CameraUnauthorized],
        "asic",
        asks!(r#"Basic realm="cam""#),
    ),
    refused(
        "offers-the-unknown-alone",
        "It offers a scheme that nobody knows.",
        &[Reason::CameraUnauthorized, Reason::CameraRefused],
        "X-Own",
        asks!(r#"X-Own token="abc""#),
    ),
    shown(
        "digest-over-two-lines",
        "Its challenge goes on in the next line.",
        asks!("Digest realm=\"cam\",\r\n nonce=\"{nonce}\",\r\n\tqop=\"auth\""),
    ),
    shown(
        "digest-twice-the-same",
        "It sends the same challenge in two headers.",
        asks!(
            r#"Digest realm="cam", nonce="{nonce}", qop="auth""#,
            r#"Digest realm="cam", nonce="{nonce}", qop="auth""#
        ),
    ),
    shown(
        "digest-quote-missing",
        "The quotation mark behind its realm is missing.",
        asks!(LENIENT; r#"Digest nonce="{nonce}", realm="cam"#),
    ),
    shown(
        "digest-with-semicolons",
        "Semicolons stand between the parts of its challenge.",
        asks!(r#"Digest realm="cam"; nonce="{nonce}"; qop="auth""#),
    ),
    shown(
        "digest-empty-algorithm",
        "Its algorithm is empty, to be answered as MD5.",
        asks!(LENIENT; r#"Digest realm="cam", nonce="{nonce}", algorithm="""#),
    ),
    shown(
        "digest-always-stale",
        "Every challenge says that the nonce is stale.",
        asks!(r#"Digest realm="cam", nonce="{nonce}", stale=true, algorithm=MD5"#),
    ),
    shown(
        "digest-with-a-page",
        "A web page comes with its request for a password.",
        Script {
            guard: Some(Guard {
                body: "<html><head><title>401 Unauthorized</title></head><body>\r\n\r\nRTSP/1.0 $</body></html>\r\n",
                ..GUARD
            }),
            ..PLAIN
        },
    ),
    refused(
        "digest-without-challenge",
        "It answers 401 and asks for nothing.",
        &[Reason::CameraUnauthorized],
        "",
        Script {
            guard: Some(Guard {
                challenges: &[],
                ..GUARD
            }),
            ..PLAIN
        },
    ),
];
