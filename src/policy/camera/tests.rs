use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    start_timeout: Duration::from_secs(10),
    close_after: Duration::from_secs(10),
    stall: Duration::from_secs(8),
};

fn life() -> Life {
    let backoff = Backoff::new(
        Duration::from_secs(1),
        Duration::from_secs(30),
        Duration::from_secs(20),
    );
    Life::new(TIMING, false, backoff)
}

fn at(seconds: u64) -> Boot {
    Boot(Duration::from_secs(seconds))
}

fn commands(life: &mut Life) -> Vec<Command> {
    std::iter::from_fn(|| life.poll_command()).collect()
}

fn failure(reason: Reason, retry: Retry) -> Failure {
    Failure {
        refusal: reason.into(),
        retry,
    }
}

fn live() -> Life {
    let mut life = life();
    life.handle_attach(at(0));
    life.handle_started(at(0));
    life.handle_picture(at(1), true);
    commands(&mut life);
    life
}

#[test]
fn time_in_which_the_machine_did_not_run_counts_against_no_camera() {
    let mut live = live();
    live.handle_held_up(Duration::from_secs(60));
    live.handle_timeout(at(62), Step::NoKeyFrame, 0.5);
    assert_eq!(live.phase(), Phase::Live);
    assert_eq!(live.poll_timeout(), Some(at(69)));
    live.handle_timeout(at(69), Step::NoKeyFrame, 0.5);
    assert_eq!(live.phase(), Phase::Retrying);
    // The wait between two tries is one for the camera's sake: it goes on.
    let again = live.poll_timeout();
    live.handle_held_up(Duration::from_secs(60));
    assert_eq!(live.poll_timeout(), again);
    let mut starting = life();
    starting.handle_attach(at(0));
    starting.handle_started(at(0));
    starting.handle_held_up(Duration::from_secs(5));
    assert_eq!(starting.poll_timeout(), Some(at(15)));
}

#[test]
fn a_start_is_shared_and_lives_with_its_first_key_frame() {
    let mut life = life();
    life.handle_attach(at(0));
    assert_eq!(
        commands(&mut life),
        [Command::Tell(State::Starting), Command::Open]
    );
    life.handle_attach(at(0));
    life.handle_started(at(0));
    life.handle_picture(at(1), false);
    assert_eq!(commands(&mut life), []);
    assert_eq!(life.state(), State::Starting);
    life.handle_picture(at(2), true);
    assert_eq!(commands(&mut life), [Command::Tell(State::Live)]);
    assert_eq!(life.poll_timeout(), Some(at(10)));
}

#[test]
fn the_session_lingers_and_a_new_one_cancels_the_close() {
    let mut life = live();
    life.handle_detach(at(5));
    assert_eq!(life.phase(), Phase::Closing);
    life.handle_attach(at(0));
    life.handle_picture(at(10), false);
    life.handle_timeout(at(15), Step::NoKeyFrame, 0.0);
    assert_eq!(commands(&mut life), []);
    life.handle_detach(at(16));
    life.handle_picture(at(20), false);
    assert_eq!(life.poll_timeout(), Some(at(26)));
    life.handle_timeout(at(26), Step::NoKeyFrame, 0.0);
    assert_eq!(commands(&mut life), [Command::Close]);
    assert_eq!(life.phase(), Phase::Idle);
    assert_eq!(life.poll_timeout(), None);
}

#[test]
fn a_slow_start_names_how_far_it_came() {
    for (step, reason) in [
        (Step::Connecting, Reason::CameraUnreachable),
        (Step::Describing, Reason::CameraUnreachable),
        (Step::SettingUp, Reason::CameraRefused),
        (Step::NoPicture, Reason::CameraStalled),
        (Step::Unreadable, Reason::CodecUnsupported),
        (Step::NoKeyFrame, Reason::CameraNoKeyFrame),
    ] {
        let mut life = life();
        life.handle_attach(at(0));
        life.handle_started(at(3));
        commands(&mut life);
        assert_eq!(life.poll_timeout(), Some(at(13)));
        life.handle_timeout(at(13), step, 1.0);
        let commands = commands(&mut life);
        assert_eq!(commands[0], Command::Close);
        assert!(
            matches!(&commands[1], Command::Tell(State::Retrying(refusal)) if refusal.reason == reason),
            "{step:?} {commands:?}"
        );
        assert_eq!(life.poll_timeout(), Some(at(14)));
        life.handle_timeout(at(14), step, 1.0);
        assert_eq!(life.poll_command(), Some(Command::Open));
    }
}

#[test]
fn waiting_for_a_turn_does_not_count_as_a_slow_start() {
    let mut life = life();
    life.handle_attach(at(0));
    assert_eq!(life.poll_timeout(), None);
}

#[test]
fn a_stall_closes_and_tries_again_while_viewers_stay() {
    let mut life = live();
    life.handle_picture(at(4), false);
    life.handle_timeout(at(11), Step::NoKeyFrame, 0.0);
    assert_eq!(commands(&mut life), []);
    life.handle_timeout(at(12), Step::NoKeyFrame, 0.0);
    let commands = commands(&mut life);
    assert_eq!(commands[0], Command::Close);
    assert!(
        matches!(&commands[1], Command::Tell(State::Retrying(r)) if r.reason == Reason::CameraStalled)
    );
    assert_eq!(life.attached(), 1);
}

#[test]
fn a_group_of_a_minute_is_no_stall() {
    let mut life = live();
    for second in 3..63 {
        life.handle_picture(at(second), false);
        assert_eq!(life.poll_timeout(), Some(at(second + 8)));
    }
    assert_eq!((life.phase(), commands(&mut life)), (Phase::Live, vec![]));
}

#[test]
fn a_brief_success_does_not_reset_the_wait() {
    let mut life = live();
    let mut now = at(2);
    let mut waits = Vec::new();
    for _ in 0..4 {
        life.handle_failure(now, failure(Reason::CameraStalled, Retry::Backoff), 1.0);
        let next = life.poll_timeout().unwrap_or(now);
        waits.push(next.since(now).as_secs());
        life.handle_timeout(next, Step::NoKeyFrame, 1.0);
        life.handle_started(next);
        life.handle_picture(next, true);
        now = next.plus(Duration::from_secs(2));
        life.handle_picture(now, false);
    }
    assert_eq!(waits, [1, 2, 4, 8]);
}

#[test]
fn a_busy_camera_is_left_alone_for_as_long_as_it_asks() {
    let mut life = live();
    let busy = failure(Reason::CameraBusy, Retry::After(Duration::from_secs(60)));
    life.handle_failure(at(2), busy, 0.0);
    assert_eq!(life.poll_timeout(), Some(at(62)));
}

#[test]
fn a_refused_password_is_held_until_settings_change() {
    let mut life = live();
    life.handle_failure(at(2), failure(Reason::CameraUnauthorized, Retry::Hold), 0.0);
    assert_eq!(
        commands(&mut life),
        [Command::Tell(State::Failed(
            Reason::CameraUnauthorized.into()
        ))]
    );
    assert_eq!(life.poll_timeout(), None);
    life.handle_attach(at(0));
    assert_eq!(
        commands(&mut life),
        [],
        "attaching must not try the password again"
    );
    assert_eq!(
        life.state(),
        State::Failed(Reason::CameraUnauthorized.into())
    );
    life.handle_reopen();
    assert_eq!(
        commands(&mut life),
        [Command::Tell(State::Starting), Command::Open]
    );
}

#[test]
fn what_nobody_wants_is_not_tried_again() {
    let mut life = live();
    life.handle_detach(at(2));
    life.handle_failure(at(3), failure(Reason::CameraStalled, Retry::Backoff), 0.0);
    assert_eq!((life.phase(), commands(&mut life).len()), (Phase::Idle, 0));
    let mut life = live();
    life.handle_failure(at(3), failure(Reason::CameraStalled, Retry::Backoff), 0.0);
    life.handle_detach(at(3));
    assert_eq!(life.phase(), Phase::Idle);
}

#[test]
fn asking_again_does_not_storm_a_camera_that_failed() {
    let mut life = live();
    let busy = failure(Reason::CameraBusy, Retry::After(Duration::from_secs(60)));
    life.handle_failure(at(2), busy, 0.0);
    life.handle_detach(at(3));
    commands(&mut life);
    life.handle_attach(at(4));
    assert_eq!(
        commands(&mut life),
        [Command::Tell(State::Retrying(Reason::CameraBusy.into()))]
    );
    assert_eq!(life.poll_timeout(), Some(at(62)));
    life.handle_detach(at(5));
    life.handle_attach(at(63));
    assert_eq!(
        commands(&mut life),
        [Command::Tell(State::Starting), Command::Open]
    );
}

#[test]
fn warm_streams_stay_open_alone() {
    let mut life = life();
    life.handle_warm(at(0), true);
    assert_eq!(life.poll_command(), Some(Command::Tell(State::Starting)));
    assert_eq!(life.poll_command(), Some(Command::Open));
    life.handle_attach(at(0));
    life.handle_detach(at(5));
    assert_eq!(life.phase(), Phase::Starting);
    life.handle_warm(at(6), false);
    assert_eq!(life.phase(), Phase::Closing);
}

#[test]
fn pressure_closes_only_what_lingers() {
    let mut life = live();
    life.handle_pressure();
    assert_eq!(commands(&mut life), []);
    life.handle_detach(at(2));
    life.handle_pressure();
    assert_eq!(commands(&mut life), [Command::Close]);
}

#[derive(Clone, Debug)]
enum Input {
    Attach,
    Detach,
    Started,
    Picture(bool),
    Failure(Retry),
    Timeout,
    Reopen,
    Pressure,
    Wait(u64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let retry = prop_oneof![
        Just(Retry::Backoff),
        Just(Retry::Hold),
        Just(Retry::After(Duration::from_secs(60)))
    ];
    let input = prop_oneof![
        Just(Input::Attach),
        Just(Input::Detach),
        Just(Input::Started),
        any::<bool>().prop_map(Input::Picture),
        retry.prop_map(Input::Failure),
        Just(Input::Timeout),
        Just(Input::Reopen),
        Just(Input::Pressure),
        (1_u64..20).prop_map(Input::Wait),
    ];
    proptest::collection::vec(input, 0..80)
}

proptest! {
    /// Whatever happens: never two sessions, never one without a reason, and
    /// what is wanted and not held is always being opened, open, or about to be.
    #[test]
    fn never_two_sessions_and_never_forgotten(inputs in inputs()) {
        let mut life = life();
        let mut now = at(0);
        let mut open = false;
        for input in inputs {
            match input {
                Input::Attach => life.handle_attach(now),
                Input::Detach => life.handle_detach(now),
                Input::Started => life.handle_started(now),
                Input::Picture(key) => if open { life.handle_picture(now, key) },
                Input::Failure(retry) => if open {
                    open = false;
                    life.handle_failure(now, failure(Reason::CameraStalled, retry), 0.5);
                },
                Input::Timeout => if let Some(next) = life.poll_timeout() {
                    now = now.max(next);
                    life.handle_timeout(now, Step::NoKeyFrame, 0.5);
                },
                Input::Reopen => life.handle_reopen(),
                Input::Pressure => life.handle_pressure(),
                Input::Wait(seconds) => now = now.plus(Duration::from_secs(seconds)),
            }
            while let Some(command) = life.poll_command() {
                match command {
                    Command::Open => {
                        prop_assert!(!open, "a second session");
                        open = true;
                    }
                    Command::Close => open = false,
                    Command::Tell(_) => {}
                }
            }
            let phase = life.phase();
            prop_assert_eq!(open, matches!(phase, Phase::Starting | Phase::Live | Phase::Closing));
            if life.attached() > 0 {
                prop_assert!(phase != Phase::Idle && phase != Phase::Closing);
            } else {
                prop_assert!(matches!(phase, Phase::Idle | Phase::Closing));
            }
        }
    }
}
