//! `fanal request`: an operator's signed request from a shell.
#![allow(clippy::print_stderr)]

mod bound;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::bound::Bound;
use super::Usage;
use super::client::{self, Answer, Client, ReceiverArgs, Refused};
use super::french::French;
use crate::format::designation;
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, ProfileWish};
use crate::format::statement::{REQUEST_TYPE, RequestClaims};
use crate::format::text;
use crate::shutdown::Signals;

/// How often a request that waits for the commune's approval is looked at.
const APPROVAL_LOOK: Duration = Duration::from_secs(2);
/// How long such a request is waited for at most: the longest that an agreement
/// lets it wait, and what the receiver adds.
const APPROVAL_WAIT: Duration = Duration::from_secs(62 * 60);
/// Pause before a renewal that could not be delivered is tried again.
const RENEWAL_PAUSE: Duration = Duration::from_secs(3);
/// Least time between two renewals, whatever the receiver says is left.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// How long the receiver may take to say what bounds a held grant; it is told without that then.
const BOUND_WAIT: Duration = Duration::from_secs(3);
/// Most names in `--present`.
const PRESENT_LIMIT: usize = 20;

/// Arguments of `fanal request`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: two cameras for twenty minutes, kept until Ctrl-C:
  fanal request --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem --commune berre-l-etang \\
    --camera quai-nord rond-point --incident COG-13/2026.42 --grounds pursuit --for 20m --hold

The grant is printed as JSON on stdout; granted[].rtsp plays in VLC or ffplay without a change:
  fanal request … | jq -r '.granted[0].rtsp' | xargs ffplay
With --hold its member renewable ({until, by}) says until when it can be renewed, and what ends it
then: designation, agreement (its dates and hours) or max_total."
)]
pub struct RequestArgs {
    #[command(flatten)]
    receiver: ReceiverArgs,
    /// The commune whose cameras are asked for
    #[arg(long, value_name = "ID")]
    commune: CommuneId,
    /// The cameras
    #[arg(long = "camera", value_name = "ID", required = true, num_args = 1..)]
    cameras: Vec<CameraId>,
    /// The intervention's reference, never its content: [A-Za-z0-9._/-]{1,64}
    #[arg(long, value_name = "REF")]
    incident: Incident,
    /// The motive: an id of the agreement's grounds, such as burglary, pursuit, fire
    #[arg(long, value_name = "G")]
    grounds: String,
    /// For how long, such as 20m or 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = client::parse_seconds)]
    seconds: u32,
    /// Who else is present and sees the pictures; once for each, at most 20
    #[arg(long = "present", value_name = "NAME")]
    present: Vec<String>,
    /// Which of the cameras' streams
    #[arg(long, value_enum, default_value_t = Wish::Auto)]
    profile: Wish,
    /// Renew the grant before it ends, until Ctrl-C, and release it then; a request that still waits
    /// for the commune is cancelled
    #[arg(long)]
    hold: bool,
}

/// Which of the cameras' streams is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wish {
    /// As focus and uplink allow
    Auto,
    /// The full picture
    Main,
    /// The smaller stream, where the camera has one
    Sub,
}

impl From<Wish> for ProfileWish {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Auto => Self::Auto,
            Wish::Main => Self::Main,
            Wish::Sub => Self::Sub,
        }
    }
}

/// Runs `fanal request`.
pub fn run(args: RequestArgs) -> anyhow::Result<ExitCode> {
    check(&args)?;
    client::block_on(async {
        let client = Client::connect(&args.receiver).await?;
        let mut claims = claims(&args, &client);
        if !args.hold {
            let grant = ask(&client, &claims).await?;
            client::print(&grant)?;
            tell_refused(&grant);
            return Ok(ExitCode::SUCCESS);
        }
        let token = CancellationToken::new();
        let _signals = Signals::listen(token.clone())?;
        let Some(mut grant) = ask_until(&client, &claims, &token).await? else {
            eprintln!(
                "fanal: request {} cancelled; nothing was granted",
                claims.jti
            );
            return Ok(ExitCode::FAILURE);
        };
        let id = grant_id(&grant)?;
        let bound = bound_of(&client, &grant, &args.commune).await?;
        grant["renewable"] = bound.json();
        client::print(&grant)?;
        tell_refused(&grant);
        claims.renews = Some(id);
        let words = bound.words(client.now());
        eprintln!("fanal: holding grant {id}; {words}; Ctrl-C releases it");
        hold(&client, &mut claims, &grant, &token).await
    })
}

/// What the receiver would refuse is told before anything is signed.
fn check(args: &RequestArgs) -> Result<(), Usage> {
    check_present(&args.present)?;
    for (index, camera) in args.cameras.iter().enumerate() {
        if args.cameras[..index].contains(camera) {
            return Err(Usage(format!("--camera: {camera} is named twice")));
        }
    }
    Ok(())
}

/// The names of those present: few, and fit to be read.
///
/// # Errors
///
/// Too many names, or one that is not fit to be read.
pub fn check_present(names: &[String]) -> Result<(), Usage> {
    if names.len() > PRESENT_LIMIT {
        return Err(Usage(format!("--present: at most {PRESENT_LIMIT} names")));
    }
    for name in names {
        text::check(name).map_err(|wrong| Usage(format!("--present: a name {wrong}")))?;
    }
    Ok(())
}

fn claims(args: &RequestArgs, client: &Client) -> RequestClaims {
    RequestClaims {
        jti: client::new_id(),
        iat: client.now().seconds(),
        aud: args.commune.clone(),
        centre: client.centre().clone(),
        cameras: args.cameras.clone(),
        grounds: args.grounds.clone(),
        incident: args.incident.clone(),
        duration: args.seconds,
        profile: args.profile.into(),
        present: args.present.clone(),
        renews: None,
    }
}

/// Signs and sends a request, and waits for the commune where it must approve.
/// Gives the grant.
///
/// # Errors
///
/// A [`Refused`] of either side, or no answer.
pub async fn ask(client: &Client, claims: &RequestClaims) -> anyhow::Result<Value> {
    let answer = client
        .post_request(client.sign(REQUEST_TYPE, claims))
        .await?;
    if answer.status != StatusCode::ACCEPTED {
        return Ok(answer.json);
    }
    approved(client, claims, answer, "stops waiting, not the request").await
}

/// The same, until told to stop: a request that waits for the commune is then cancelled, and there is
/// no grant.
async fn ask_until(
    client: &Client,
    claims: &RequestClaims,
    token: &CancellationToken,
) -> anyhow::Result<Option<Value>> {
    let answer = client
        .post_request(client.sign(REQUEST_TYPE, claims))
        .await?;
    if answer.status != StatusCode::ACCEPTED {
        return Ok(Some(answer.json));
    }
    let path = format!("/api/v1/requests/{}", pending(&answer, claims));
    tokio::select! {
        biased;
        () = token.cancelled() => {}
        approved = approved(client, claims, answer, "cancels the request") => {
            return approved.map(Some);
        }
    }
    let Err(error) = client.call(Method::DELETE, &path).await else {
        return Ok(None);
    };
    // It may have been approved in this moment.
    match client.call(Method::GET, &path).await {
        Ok(answer) if answer.status != StatusCode::ACCEPTED => Ok(Some(answer.json)),
        _ => Err(error.context("the request could not be cancelled; it waits on")),
    }
}

/// Waits for the commune to approve a request; `stops`: what Ctrl-C does.
async fn approved(
    client: &Client,
    claims: &RequestClaims,
    mut answer: Answer,
    stops: &str,
) -> anyhow::Result<Value> {
    let until = Instant::now() + APPROVAL_WAIT;
    let path = format!("/api/v1/requests/{}", pending(&answer, claims));
    let by = answer.json["approve_by"].as_str().unwrap_or_default();
    let by = text::shown(by, 40);
    let by = if by.is_empty() {
        by
    } else {
        format!(" by {by}")
    };
    eprintln!("fanal: somebody at the commune must approve{by}; Ctrl-C {stops}");
    while answer.status == StatusCode::ACCEPTED {
        if Instant::now() > until {
            bail!("the commune has not answered; ask again or call its contact");
        }
        tokio::time::sleep(APPROVAL_LOOK).await;
        answer = client.call(Method::GET, &path).await?;
    }
    Ok(answer.json)
}

/// The id under which a request waits: only one that can't lead elsewhere in the API.
fn pending(answer: &Answer, claims: &RequestClaims) -> String {
    let id = answer.json["request"].as_str().unwrap_or_default();
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if plain {
        id.to_owned()
    } else {
        claims.jti.to_string()
    }
}

fn tell_refused(grant: &Value) {
    let refused = grant["refused"].as_array();
    for camera in refused.into_iter().flatten() {
        let camera = client::refused_camera(camera, French::of_environment());
        eprintln!("fanal: not granted: {camera}");
    }
}

/// Until when the grant can be renewed.
async fn bound_of(client: &Client, grant: &Value, commune: &CommuneId) -> anyhow::Result<Bound> {
    let chain = client.chain();
    let leaf = chain.first().context("--cert holds no certificate")?;
    let me = designation::read(leaf).map_err(|cause| anyhow::anyhow!("--cert: {cause}"))?;
    let called = client.call(Method::GET, "/api/v1/communes");
    let communes = tokio::time::timeout(BOUND_WAIT, called).await;
    // What the receiver does not say is told as unknown.
    let agreement = match communes {
        Ok(Ok(answer)) => bound::agreement(&answer.json, commune.as_str()),
        Ok(Err(_)) | Err(_) => None,
    };
    let now = client.now();
    let start = bound::start(grant).unwrap_or(now);
    Ok(Bound::new(me.not_after, agreement.as_ref(), start, now))
}

/// The id of a grant in its JSON.
///
/// # Errors
///
/// The answer has none.
pub fn grant_id(grant: &Value) -> anyhow::Result<GrantId> {
    let id = grant["grant"].as_str().and_then(|id| id.parse().ok());
    id.context("the receiver's answer names no grant")
}

fn life(grant: &Value) -> anyhow::Result<Duration> {
    let seconds = grant["seconds_left"].as_f64().filter(|s| *s >= 0.0);
    let seconds = seconds.context("the receiver's answer does not say how long the grant lasts")?;
    Ok(Duration::try_from_secs_f64(seconds)?)
}

/// Renews at two thirds of each life until told to stop, then releases.
async fn hold(
    client: &Client,
    claims: &mut RequestClaims,
    grant: &Value,
    token: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let id = grant_id(grant)?;
    let mut left = life(grant)?;
    loop {
        let ends = Instant::now() + left;
        let mut next = Instant::now() + left.mul_f64(2.0 / 3.0).max(LEAST_PAUSE);
        let renewed = loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return release(client, id).await,
                () = tokio::time::sleep_until(next) => {}
            }
            claims.jti = client::new_id();
            claims.iat = client.now().seconds();
            match ask_until(client, claims, token).await {
                Ok(Some(renewed)) => break renewed,
                Ok(None) => return release(client, id).await,
                Err(error) if passes(&error) && Instant::now() < ends => {
                    eprintln!("fanal: not renewed yet: {error:#}");
                    next = Instant::now() + RENEWAL_PAUSE;
                }
                Err(error) => return Err(error.context(format!("grant {id} could not be renewed"))),
            }
        };
        left = life(&renewed)?;
        eprintln!("fanal: grant {id} renewed for {} s", left.as_secs());
        tell_refused(&renewed);
    }
}

/// Whether the same request may succeed in a moment: nobody answered, or the
/// answer says that it is the moment and not the request.
fn passes(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Refused>() {
        Some(refused) => refused.status >= 500 || refused.reason.passes(),
        None => true,
    }
}

async fn release(client: &Client, grant: GrantId) -> anyhow::Result<ExitCode> {
    client
        .call(Method::DELETE, &client::grant_path(grant))
        .await
        .with_context(|| format!("grant {grant} could not be released; it ends by itself"))?;
    eprintln!("fanal: grant {grant} released");
    Ok(ExitCode::SUCCESS)
}
