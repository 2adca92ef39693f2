//! Every reason is reached by a test: which one is written here, and looked up in the
//! tests' own text.

use std::collections::{BTreeMap, BTreeSet};

use fanal::reason::Reason::{self, *};

/// File, test, and the reasons that it awaits.
const REACHED: &[(&str, &str, &[Reason])] = &[
    (
        "tests/it/authorise.rs",
        "each_refusal_has_its_reason_and_its_entry",
        &[
            MalformedRequest,
            BadSignature,
            StaleRequest,
            ReplayedRequest,
            WrongAudience,
            OperatorNotDesignated,
            DesignationExpired,
            DesignationRevoked,
            RevocationUnknown,
            NoAgreement,
            CameraUnknown,
            CameraNotCovered,
            CameraInvalid,
            MaskNotVerified,
            GroundsNotAllowed,
            IncidentMissing,
            DurationTooLong,
        ],
    ),
    (
        "tests/it/several.rs",
        "one_of_two_is_killed_and_all_its_relays_are_back_under_the_same_grants",
        &[OtherReceiver],
    ),
    (
        "tests/it/authorise.rs",
        "an_agreement_ends_with_its_last_day_and_with_what_it_no_longer_says",
        &[AgreementNotInForce, AgreementChanged],
    ),
    (
        "tests/it/authorise.rs",
        "a_camera_is_refused_beside_one_that_is_granted",
        &[TooManyRelays],
    ),
    (
        "tests/it/authorise.rs",
        "what_the_commune_cuts_is_refused",
        &[CommuneRefused, GrantCut],
    ),
    (
        "tests/it/authorise.rs",
        "without_a_journal_no_camera_opens",
        &[JournalUnavailable],
    ),
    (
        "tests/it/authorise.rs",
        "a_clock_behind_the_journal_refuses",
        &[ClockWrong],
    ),
    (
        "tests/it/authorise.rs",
        "a_camera_that_fails_says_why",
        &[CameraNotFound],
    ),
    (
        "tests/it/authorise.rs",
        "a_gateway_that_stops_says_so",
        &[ShuttingDown],
    ),
    (
        "tests/it/uplink.rs",
        "a_full_uplink_says_so_and_a_wish_is_obeyed",
        &[UplinkFull],
    ),
    (
        "tests/it/approval.rs",
        "nobody_approves_in_time",
        &[ApprovalPending, ApprovalTimedOut],
    ),
    (
        "tests/it/approval.rs",
        "who_asked_may_cancel_while_it_waits",
        &[RequestCancelled],
    ),
    (
        "tests/it/commune/api.rs",
        "a_person_approves_sees_cuts_and_allows_and_the_journal_tells_it",
        &[OwnRequest],
    ),
    (
        "tests/it/malicious/grants.rs",
        "a_grant_that_is_never_confirmed_ends",
        &[CentreUnconfirmed],
    ),
    (
        "tests/it/malicious.rs",
        "its_flood_is_bounded_and_harms_nobody_else",
        &[TooManyAttempts],
    ),
    (
        "tests/it/malicious/messages.rs",
        "what_is_no_message_ends_the_link",
        &[ProtocolError],
    ),
    (
        "src/policy/desk/tests.rs",
        "what_the_centre_can_see_itself_is_refused_before_the_gateway_hears_of_it",
        &[CommuneUnknown],
    ),
    (
        "tests/it/api.rs",
        "an_operator_who_asks_too_often_is_told_to_wait_and_others_are_served",
        &[TooManyRequests],
    ),
    (
        "tests/it/vms.rs",
        "the_end_of_an_account_ends_its_sessions",
        &[AccountChanged],
    ),
    (
        "tests/it/api.rs",
        "refusals_carry_their_reason_and_request_ids_tell_again",
        &[CommuneOffline],
    ),
    (
        "tests/it/api.rs",
        "a_grant_is_recorded_confirmed_and_shown_with_credentials_to_its_requester_alone",
        &[GrantUnknown],
    ),
    (
        "tests/it/api.rs",
        "only_good_tokens_open_the_api",
        &[TokenInvalid, TokenExpired],
    ),
    (
        "tests/it/api/local.rs",
        "a_receiver_that_goes_is_told_and_found_again",
        &[CentreUnreachable],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_camera_that_never_answers_is_unreachable",
        &[CameraUnreachable],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_closed_port_refuses",
        &[CameraRefused],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_wrong_password_is_tried_once_for_all_cameras_of_the_host",
        &[CameraUnauthorized],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_host_with_few_sessions_is_busy_until_one_closes",
        &[CameraBusy],
    ),
    (
        "tests/it/camera/traps.rs",
        "no_key_frame_has_its_own_reason",
        &[CameraNoKeyFrame],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_camera_that_falls_silent_is_opened_again_while_its_viewers_stay",
        &[CameraStalled],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_codec_that_cannot_be_relayed_is_named_and_not_tried_again",
        &[CodecUnsupported],
    ),
    (
        "tests/it/camera/traps.rs",
        "a_panic_costs_one_session_and_nobody_elses",
        &[Internal],
    ),
    (
        "src/receiver/hub/tests.rs",
        "another_codec_ends_players_and_not_pages",
        &[StreamChanged],
    ),
    (
        "tests/it/lifecycle/mod.rs",
        "a_grant_ends_at_its_time",
        &[GrantExpired],
    ),
    (
        "tests/it/lifecycle/mod.rs",
        "a_signed_request_opens_the_camera_and_a_release_closes_it",
        &[GrantReleased],
    ),
    (
        "tests/it/outage.rs",
        "while_the_link_is_cut_players_are_told_why",
        &[LinkLost],
    ),
    (
        "tests/it/snapshots.rs",
        "without_the_agreements_leave_or_the_commune_none_is_given",
        &[SnapshotNotAllowed],
    ),
    (
        "tests/it/restored.rs",
        "a_gateway_that_was_restored_from_a_copy_is_seen_at_the_link_and_its_grants_end",
        &[JournalWentBack],
    ),
];

/// The functions of a file at its left margin, with their text.
fn functions(text: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for (at, _) in text.match_indices("fn ") {
        let line = text[..at].rsplit('\n').next().unwrap();
        let is_outer = !line.starts_with(char::is_whitespace) && !line.contains("//");
        let rest = &text[at + 3..];
        if let (true, Some(name), Some(end)) =
            (is_outer, rest.split('(').next(), rest.find("\n}\n"))
        {
            found.insert(name, &rest[..end]);
        }
    }
    found
}

/// Whether this text calls a function of this name; a method of the name is another.
fn calls(body: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    body.match_indices(&format!("{name}("))
        .any(|(at, _)| !body[..at].ends_with(inside))
}

/// The text of a function and of those in its file that it calls, and they call.
fn with_callees(functions: &BTreeMap<&str, &str>, name: &str) -> String {
    let mut seen = BTreeSet::from([name]);
    let mut waiting = vec![name];
    let mut whole = String::new();
    while let Some(body) = waiting.pop().map(|name| functions[name]) {
        whole.push_str(body);
        for other in functions.keys() {
            if calls(body, other) && seen.insert(other) {
                waiting.push(other);
            }
        }
    }
    whole
}

#[test]
fn every_reason_is_reached_by_a_test_that_names_it() {
    let mut named = BTreeSet::new();
    for (file, test, reasons) in REACHED {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let functions = functions(&text);
        assert!(functions.contains_key(test), "{file} has no {test}");
        let before = text.split(&format!("fn {test}(")).next().unwrap();
        let attribute = before.trim_end_matches("async ").trim_end().lines().last();
        let is_test = attribute.is_some_and(|line| {
            ["#[test]", "#[tokio::test"]
                .iter()
                .any(|test| line.starts_with(test))
        });
        let over_both = text.split("over_both![").nth(1).unwrap_or_default();
        let over_both = over_both.split(']').next().unwrap();
        let is_listed = over_both.split(',').any(|listed| listed.trim() == *test);
        assert!(is_test || is_listed, "{file}: {test} is no test");
        let body = with_callees(&functions, test);
        for reason in *reasons {
            let written = [format!("Reason::{reason:?}"), format!("\"{reason}\"")];
            assert!(
                written.iter().any(|written| body.contains(written)),
                "{file}: {test} does not name {reason}"
            );
            assert!(named.insert(*reason), "{reason} is here twice");
        }
    }
    for reason in Reason::ALL {
        assert!(named.contains(reason), "no test reaches {reason}");
    }
}
