use proptest::prelude::*;

use super::*;

fn places<'a>(asked: &'a Url, base: Option<&'a str>, track: Option<&'a str>) -> Places<'a> {
    Places {
        asked,
        content_base: base.map(str::as_bytes),
        content_location: None,
        session_control: Some("*"),
        track_control: track,
    }
}

/// Asked, Content-Base, control of the track; SETUP and PLAY that must come first.
#[test]
fn bases_and_controls_are_joined_as_cameras_mean_them() {
    const P: &str = "rtsp://h:8554/p";
    let query = "rtsp://h/cam/realmonitor?channel=1&subtype=0";
    for (asked, base, control, setup, play) in [
        // As the standard has it.
        (
            P,
            Some("rtsp://h:8554/p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp://h:8554/p"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p",
        ),
        (
            P,
            None,
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p",
        ),
        (
            P,
            None,
            Some("rtsp://h:8554/p/trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p",
        ),
        // 14a, 14b, 14d, 14g.
        (
            "rtsp://h:8554/profile2/media.smp",
            Some("/profile2/media.smp/"),
            Some("trackID=1"),
            "rtsp://h:8554/profile2/media.smp/trackID=1",
            "rtsp://h:8554/profile2/media.smp/",
        ),
        (
            P,
            Some("rtsp://rtsp://h:8554/p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("RTSP://rtsp://rtsp://h:8554/p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some(""),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p",
        ),
        (
            P,
            Some("rtsp://h:8554/p/\0"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp://h:8554/p/\0\u{1}junk"),
            Some("trackID=1\0"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("\"rtsp://h:8554/p/\""),
            Some("trackID=1 "),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp:///p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp://"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p",
        ),
        (
            P,
            Some("h:8554/p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("10.0.0.1:554/p/"),
            Some("trackID=1"),
            "rtsp://10.0.0.1:554/p/trackID=1",
            "rtsp://10.0.0.1:554/p/",
        ),
        (
            P,
            Some("p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("http://h/p/"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("*"),
            Some("trackID=1"),
            "rtsp://h:8554/p/trackID=1",
            "rtsp://h:8554/p",
        ),
        // 15a, and other slashes.
        (
            P,
            Some("rtsp://h:8554/p/"),
            Some("/video"),
            "rtsp://h:8554/p/video",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp://h:8554/p/"),
            Some("/p/video"),
            "rtsp://h:8554/p/video",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp://h:8554/p/"),
            Some("./video"),
            "rtsp://h:8554/p/video",
            "rtsp://h:8554/p/",
        ),
        (
            P,
            Some("rtsp://h:8554/p/"),
            Some("rtsp://rtsp://h:8554/p/video"),
            "rtsp://h:8554/p/video",
            "rtsp://h:8554/p/",
        ),
        // No control.
        (
            P,
            Some("rtsp://h:8554/p/"),
            None,
            "rtsp://h:8554/p/",
            "rtsp://h:8554/p/",
        ),
        (P, None, Some(""), P, P),
        (P, None, Some("*"), P, P),
        // Queries.
        (
            query,
            None,
            Some("trackID=0"),
            "rtsp://h/cam/realmonitor?channel=1&subtype=0/trackID=0",
            query,
        ),
        (
            query,
            Some("rtsp://h/cam/realmonitor?channel=1&subtype=0/"),
            Some("trackID=0"),
            "rtsp://h/cam/realmonitor?channel=1&subtype=0/trackID=0",
            "rtsp://h/cam/realmonitor?channel=1&subtype=0/",
        ),
        (
            P,
            None,
            Some("trackID=1?x=y"),
            "rtsp://h:8554/p/trackID=1?x=y",
            P,
        ),
        (
            P,
            Some("rtsp://h:8554/p/"),
            Some("?ctype=video"),
            "rtsp://h:8554/p/?ctype=video",
            "rtsp://h:8554/p/",
        ),
        // Hosts, users.
        (
            P,
            Some("rtsp://10.0.0.1/p/"),
            Some("trackID=1"),
            "rtsp://10.0.0.1/p/trackID=1",
            "rtsp://10.0.0.1/p/",
        ),
        (
            "rtsp://u:p@h/p",
            None,
            Some("trackID=1"),
            "rtsp://h/p/trackID=1",
            "rtsp://h/p",
        ),
        (
            P,
            Some("rtsp://u:p@w@h:8554/p/"),
            Some("rtsp://u:p@h:8554/p/t"),
            "rtsp://h:8554/p/t",
            "rtsp://h:8554/p/",
        ),
        (
            "rtsp://[fd00::2]:554/p",
            Some("/p/"),
            Some("t"),
            "rtsp://[fd00::2]:554/p/t",
            "rtsp://[fd00::2]:554/p/",
        ),
        ("rtsp://h", None, Some("t"), "rtsp://h/t", "rtsp://h"),
        ("rtsp://h/", None, Some("t"), "rtsp://h/t", "rtsp://h/"),
    ] {
        let asked = Url::parse(asked).unwrap();
        let uris = Uris::resolve(&places(&asked, base, control), &Fixes::default());
        let case = format!("{asked} {base:?} {control:?}: {uris:?}");
        assert_eq!(uris.setup[0], setup, "{case}");
        assert_eq!(uris.play[0], play, "{case}");
    }
}

#[test]
fn other_ways_are_there_for_a_refusal() {
    for (asked, base, control, other) in [
        (
            "rtsp://h/p",
            Some("rtsp://10.0.0.1/p/"),
            "t",
            "rtsp://h/p/t",
        ),
        ("rtsp://h/p", Some("rtsp://h/other/"), "t", "rtsp://h/p/t"),
        ("rtsp://h/p", None, "/video", "rtsp://h/video"),
        ("rtsp://h/p?a=1", None, "t", "rtsp://h/p/t?a=1"),
        ("rtsp://h/a/b", None, "t", "rtsp://h/a/t"),
        ("rtsp://h/p", None, "rtsp://10.0.0.1:9/p/t", "rtsp://h/p/t"),
        ("rtsp://h/p", None, "t", "rtsp://h/p/t/"),
    ] {
        let asked = Url::parse(asked).unwrap();
        let uris = Uris::resolve(&places(&asked, base, Some(control)), &Fixes::default());
        assert!(
            uris.setup.iter().skip(1).any(|way| way == other),
            "{other}: {uris:?}"
        );
    }
}

#[test]
fn the_session_has_its_own_control() {
    let asked = Url::parse("rtsp://h/p").unwrap();
    for (session, play) in [
        (None, "rtsp://h/p/"),
        (Some("*"), "rtsp://h/p/"),
        (Some(""), "rtsp://h/p/"),
        (Some("rtsp://h/all"), "rtsp://h/all"),
        (Some("all"), "rtsp://h/p/all"),
    ] {
        let places = Places {
            session_control: session,
            ..places(&asked, Some("rtsp://h/p/"), Some("t"))
        };
        let uris = Uris::resolve(&places, &Fixes::default());
        assert_eq!(uris.play[0], play, "{session:?}");
        assert_eq!(uris.setup[0], "rtsp://h/p/t");
        assert!(uris.play.contains(&"rtsp://h/p".to_owned()));
    }
}

#[test]
fn what_is_odd_is_noted_and_what_is_not_is_not() {
    let asked = Url::parse("rtsp://h/p").unwrap();
    for (base, control, needed) in [
        (Some("rtsp://h/p/"), Some("trackID=1"), &[][..]),
        (None, Some("rtsp://h/p/t"), &[]),
        (None, None, &[]),
        (Some(""), Some("t"), &[Fix::ContentBase]),
        (Some("/p/"), Some("t"), &[Fix::ContentBase]),
        (Some("rtsp://rtsp://h/p/"), Some("t"), &[Fix::ContentBase]),
        (Some("rtsp://h/p/\0"), Some("t"), &[Fix::ContentBase]),
        (Some("rtsp://h/p/"), Some("/t"), &[Fix::ControlUrl]),
        (Some("rtsp://h/p/"), Some(""), &[Fix::ControlUrl]),
    ] {
        let fixes = Fixes::default();
        Uris::resolve(&places(&asked, base, control), &fixes);
        assert_eq!(fixes.needed(), needed, "{base:?} {control:?}");
    }
}

#[test]
fn content_location_counts_where_there_is_no_base() {
    let asked = Url::parse("rtsp://h/p").unwrap();
    let places = Places {
        content_location: Some(b"rtsp://h/q/"),
        ..places(&asked, Some(""), Some("t"))
    };
    let uris = Uris::resolve(&places, &Fixes::default());
    assert_eq!(uris.setup[0], "rtsp://h/q/t");
}

#[test]
fn redirects_stay_at_their_host_and_port() {
    for (asked, location, to) in [
        ("rtsp://h/p", "rtsp://h/q", Some("rtsp://h/q")),
        ("rtsp://h/p", "rtsp://h:554/q", Some("rtsp://h:554/q")),
        (
            "rtsp://u:p@H:9/p",
            "rtsp://x:y@h:9/q\0",
            Some("rtsp://h:9/q"),
        ),
        ("rtsp://h/p", "/q", Some("rtsp://h/q")),
        ("rtsp://h/a/p", "q", Some("rtsp://h/a/q")),
        ("rtsp://h/p", "rtsp://rtsp://h/q", Some("rtsp://h/q")),
        ("rtsp://h/p", "rtsp://i/q", None),
        ("rtsp://h/p", "rtsp://h:8554/q", None),
        ("rtsp://h/p", "http://h/q", None),
        ("rtsp://h/p", "", None),
    ] {
        let asked = Url::parse(asked).unwrap();
        let found = redirect(&asked, location.as_bytes());
        assert_eq!(found.as_ref().map(Url::as_str), to, "{location}");
    }
}

/// The Digest of a URI is worth something at the host that the URI names.
#[test]
fn with_a_password_only_the_own_host_and_port_are_named() {
    let peer = "10.0.0.7:8554".parse().ok();
    for (base, control, first) in [
        // As written: the host of the settings, in any case, or the address it has.
        ("rtsp://H:8554/p/", "t", "rtsp://H:8554/p/t"),
        ("rtsp://10.0.0.7:8554/p/", "t", "rtsp://10.0.0.7:8554/p/t"),
        // Another host, another port, and spellings that look like the own one.
        ("rtsp://10.0.0.8:8554/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://h:554/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://h/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://10.0.0.7/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://h:8554@10.0.0.8/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://10.0.0.8#@h:8554/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://h:8554#10.0.0.8/p/", "t", "rtsp://h:8554/p/t"),
        ("rtsp://h:8554.evil/p/", "t", "rtsp://h:8554/p/t"),
        ("10.0.0.8/p/", "t", "rtsp://h:8554/p/t"),
        ("", "rtsp://10.0.0.8/p/t?x=1", "rtsp://h:8554/p/t?x=1"),
    ] {
        let asked = Url::parse("rtsp://h:8554/p").unwrap();
        let places = Places {
            session_control: Some("rtsp://10.0.0.8/p"),
            ..places(&asked, Some(base), Some(control))
        };
        let mut uris = Uris::resolve(&places, &Fixes::default());
        assert!(uris.stay_at(&asked, peer, &Fixes::default()), "{base}");
        assert_eq!(uris.setup[0].to_lowercase(), first.to_lowercase(), "{base}");
        for uri in uris.setup.iter().chain(&uris.play) {
            assert!(is_own(uri, "rtsp://h:8554/p", peer), "{base}: {uri}");
        }
    }
    let asked = Url::parse("rtsp://h/p").unwrap();
    for own in ["rtsp://h/p/", "rtsp://h:554/p/", "rtsp://[fd00::7]/p/"] {
        let mut uris = Uris::resolve(&places(&asked, Some(own), Some("t")), &Fixes::default());
        let before = uris.clone();
        assert!(
            !uris.stay_at(&asked, "[fd00::7]:554".parse().ok(), &Fixes::default()),
            "{own}"
        );
        assert_eq!(uris, before);
    }
}

proptest! {
    #[test]
    fn anything_is_joined_within_bounds(
        base in proptest::collection::vec(any::<u8>(), 0..300),
        control in "[ -~]{0,40}|(rtsp:|/|\\?|\\*|@|\\.|a|:|h|é|\0){0,20}",
        session in "(rtsp:|/|\\?|\\*|@|\\.|a|:|h){0,20}",
        asked in 0..4usize,
    ) {
        let asked = ["rtsp://h", "rtsp://h/p?x=1", "rtsp://[::1]:9/", "rtsp://h/a/b/"][asked];
        let asked = Url::parse(asked).unwrap();
        let places = Places {
            asked: &asked,
            content_base: Some(&base),
            content_location: Some(control.as_bytes()),
            session_control: Some(&session),
            track_control: Some(&control),
        };
        let mut uris = Uris::resolve(&places, &Fixes::default());
        let free = uris.clone();
        uris.stay_at(&asked, None, &Fixes::default());
        for way in uris.setup.iter().chain(&uris.play) {
            prop_assert!(is_own(way, &request_uri(&asked), None), "{way}");
        }
        for list in [&uris.setup, &uris.play, &free.setup, &free.play] {
            prop_assert!(!list.is_empty() && list.len() <= WAYS_LIMIT);
            for way in list {
                prop_assert!(way.starts_with("rtsp://") && way.len() < 16_000, "{way}");
                prop_assert!(way.bytes().all(|byte| byte > 0x20 && byte < 0x7f), "{way}");
            }
        }
        if let Some(url) = redirect(&asked, &base) {
            prop_assert_eq!(url.host_str(), asked.host_str());
        }
    }
}
