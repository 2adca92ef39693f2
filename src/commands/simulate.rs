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
use crate::simulate::{self, CAMERAS_LIMIT, DEFAULT_GOP, Options, Server, Start};

/// Arguments of `fanal simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Example: a commune of 200 cameras, ready for its gateway
  fanal simulate --cameras 200 > cameras.csv

The list on stdout is a cameras_file: id, name, URL, and that there is nothing to mask.")]
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Coding {
    /// H.264.
    H264,
    /// Motion JPEG; from 3 Mbit/s up.
    Mjpeg,
}

/// Runs the cameras until a signal comes.
///
/// # Errors
/// The address can't be had, or the arguments make no sense.
pub fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
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
    let options = Options {
        listen: args.listen,
        codec: match args.codec {
            Coding::H264 => Codec::H264,
            Coding::Mjpeg => Codec::Jpeg,
        },
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
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime can't be started")?;
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

/// A `cameras_file` of all cameras.
fn print_cameras(server: &Server) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let subs = server.sub_urls();
    if subs.is_empty() {
        writeln!(out, "id,name,main,mask_verified")?;
        for (name, url) in server.urls() {
            writeln!(out, "{name},{name},{url},true")?;
        }
    } else {
        writeln!(out, "id,name,main,sub,mask_verified")?;
        for ((name, url), (_, sub)) in server.urls().into_iter().zip(subs) {
            writeln!(out, "{name},{name},{url},{sub},true")?;
        }
    }
    out.flush()
}
