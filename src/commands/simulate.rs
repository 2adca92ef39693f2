//! `fanal simulate`: RTSP cameras for trials and load.
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use super::Usage;
use crate::config::values;
use crate::media::unit::Codec;
use crate::secret::Secret;
use crate::shutdown::Signals;
use crate::simulate::field::{self, Expect, Fault, Kind};
use crate::simulate::{self, CAMERAS_LIMIT, DEFAULT_GOP, Options, Server, Start};

/// Arguments of `fanal simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Example: a commune of 200 cameras, ready for its gateway
  fanal simulate --cameras 200 > cameras.csv

Cameras with faults, to see what fanal says of them:
  fanal simulate --fault list
  fanal simulate --fault sdp-time-is-now --fault slices-marked > cameras.csv

The list on stdout is a cameras_file: id, name, URL, and that there is nothing to mask.
Cameras with faults and those of H.265 play a small clip, 10 pictures a second; their rate and
size can't be set. One that refuses a password holds all others of its address and user.")]
pub struct SimulateArgs {
    /// How many cameras
    #[arg(long, value_name = "N", default_value_t = 4)]
    cameras: usize,
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8555")]
    listen: SocketAddr,
    /// Video of each camera
    #[arg(long, value_name = "RATE", default_value = "2 Mbit/s", value_parser = values::bitrate)]
    bitrate: u64,
    /// Add a sub-stream of this rate at NAME/sub, H.264 of 1280x512, up to 1.8 Mbit/s
    #[arg(long, value_name = "RATE", value_parser = values::bitrate)]
    sub_bitrate: Option<u64>,
    /// How the pictures are coded
    #[arg(long, value_enum, default_value_t = Coding::H264)]
    codec: Coding,
    /// A camera with this fault, under the fault's name, instead of good ones; may be given
    /// several times. `list` prints all faults and what should come of them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cameras", "bitrate", "sub_bitrate", "gop", "live"])]
    fault: Vec<String>,
    /// Pictures from one key frame to the next, 25 a second
    #[arg(long, value_name = "PICTURES", default_value_t = DEFAULT_GOP)]
    gop: u64,
    /// Begin with whatever picture comes next, as most cameras do, instead of a key frame
    #[arg(long)]
    live: bool,
    /// Ask for this user name and the password in --password-file
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Coding {
    /// H.264.
    H264,
    /// H.265: a clip of 320x192.
    H265,
    /// Motion JPEG; from 3 Mbit/s up.
    Mjpeg,
}

impl Coding {
    const fn codec(self) -> Codec {
        match self {
            Self::H264 => Codec::H264,
            Self::H265 => Codec::H265,
            Self::Mjpeg => Codec::Jpeg,
        }
    }
}

/// Runs the cameras until a signal comes.
///
/// # Errors
/// The address can't be had, or the arguments make no sense.
pub fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    if args.fault.iter().any(|name| name == "list") {
        return match print_faults() {
            // The reader had enough, as `head` has.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error).context("the list of faults can't be written"),
            Ok(()) => Ok(ExitCode::SUCCESS),
        };
    }
    if args.cameras == 0 || args.cameras > CAMERAS_LIMIT {
        return Err(Usage(format!("--cameras must be from 1 to {CAMERAS_LIMIT}")).into());
    }
    let credentials = match (args.username, args.password_file) {
        (Some(user), Some(file)) => {
            let password = std::fs::read_to_string(&file)
                .with_context(|| format!("password file {} not readable", file.display()))?;
            Some((user, Secret::new(password.trim_end_matches(['\r', '\n']))))
        }
        _ => None,
    };
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime can't be started")?;
    if !args.fault.is_empty() || args.codec == Coding::H265 {
        if args.sub_bitrate.is_some() {
            return Err(Usage("--sub-bitrate: not with --codec h265".to_owned()).into());
        }
        let cameras = if args.fault.is_empty() {
            let names = simulate::names(args.cameras).into_iter();
            names.map(|name| (name, &field::PLAIN_CAMERA)).collect()
        } else {
            faults(&args.fault, credentials.is_some())?
        };
        let options = field::Options {
            cameras,
            listen: args.listen,
            codec: args.codec.codec(),
            credentials,
            ..field::Options::new([])
        };
        return runtime.block_on(serve_field(options));
    }
    let options = Options {
        listen: args.listen,
        codec: args.codec.codec(),
        bitrate: args.bitrate,
        sub_bitrate: args.sub_bitrate,
        gop: args.gop,
        start: if args.live {
            Start::Live
        } else {
            Start::KeyFrame
        },
        credentials,
        ..Options::new(simulate::names(args.cameras))
    };
    runtime.block_on(serve(options))
}

/// A connection for each viewer of each camera: the usual limit of 1024 open files
/// is soon reached. Where it can't be raised, what is over it is refused and logged.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn serve(options: Options) -> anyhow::Result<ExitCode> {
    let server = Server::bind(options).await?;
    print_cameras(&server).context("the list of cameras can't be written")?;
    let token = CancellationToken::new();
    let signals = Signals::listen(token.clone()).context("signals can't be handled")?;
    let counters = server.counters();
    server.run(token).await;
    drop(signals);
    let (sessions, most_in_100_ms) = {
        let counters = counters.borrow();
        (counters.total.set_up, counters.most_in_burst)
    };
    tracing::info!(sessions, most_in_100_ms, "the cameras stop");
    Ok(ExitCode::SUCCESS)
}

async fn serve_field(options: field::Options) -> anyhow::Result<ExitCode> {
    let server = field::Server::bind(options).await?;
    print_urls(server.urls()).context("the list of cameras can't be written")?;
    let token = CancellationToken::new();
    let signals = Signals::listen(token.clone()).context("signals can't be handled")?;
    server.run(token).await;
    drop(signals);
    Ok(ExitCode::SUCCESS)
}

/// The rows of these names.
fn faults(names: &[String], password: bool) -> anyhow::Result<Vec<(String, &'static Fault)>> {
    let mut found: Vec<(String, &'static Fault)> = Vec::new();
    for name in names {
        let Some(fault) = field::named(name) else {
            let message =
                format!("--fault {name}: there is none of that name; --fault list prints all");
            return Err(Usage(message).into());
        };
        if fault.script.guard.is_some() && !password {
            let message = format!("--fault {name} needs --username and --password-file");
            return Err(Usage(message).into());
        }
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.clone(), fault));
        }
    }
    Ok(found)
}

/// All faults: name, what the camera does, what should come of it.
fn print_faults() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let print = |out: &mut std::io::StdoutLock<'_>, fault: &Fault| {
        let expect = match fault.expect {
            Expect::Shown => "shown".to_owned(),
            Expect::Refused(reasons, _) => {
                let codes: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
                codes.join(" or ")
            }
            Expect::ShownOr(reason, _) => format!("shown or {}", reason.code()),
        };
        writeln!(out, "  {:36} {expect}\n      {}", fault.name, fault.about)
    };
    for kind in Kind::ALL {
        writeln!(out, "{}", kind.title())?;
        for fault in field::of(kind) {
            print(&mut out, fault)?;
        }
    }
    out.flush()
}

/// A `cameras_file` of cameras without sub-streams.
fn print_urls(urls: Vec<(String, String)>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "id,name,main,mask_verified")?;
    for (name, url) in urls {
        writeln!(out, "{name},{name},{url},true")?;
    }
    out.flush()
}

/// A `cameras_file` of all cameras.
fn print_cameras(server: &Server) -> std::io::Result<()> {
    let subs = server.sub_urls();
    if subs.is_empty() {
        return print_urls(server.urls());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "id,name,main,sub,mask_verified")?;
    for ((name, url), (_, sub)) in server.urls().into_iter().zip(subs) {
        writeln!(out, "{name},{name},{url},{sub},true")?;
    }
    out.flush()
}
