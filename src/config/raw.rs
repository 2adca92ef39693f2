//! The files as they are written: nothing checked but the types of values.
//! Unknown keys are refused. What a missing key means is decided where it is checked.

use serde::Deserialize;

/// Defines sections, and lists their keys for the test of the sample files.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident $written:literal { $($key:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub(super) struct $name { $(pub(super) $key: $type,)* }
        )*

        /// Each section, as written in the file, with its keys. The first-level
        /// keys of both files stand under `gateway.toml` and `receiver.toml`.
        pub const KEYS: &[(&str, &[&str])] = &[$(($written, &[$(stringify!($key)),*])),*];
    };
}

type Text = Option<String>;
type Texts = Option<Vec<String>>;

sections! {
    /// `gateway.toml`, first level.
    Gateway "gateway.toml" {
        commune: Text, name: Text, contact: Text, state_dir: Text, metrics: Text,
        metrics_plain: Option<bool>, socket: Text, socket_group: Text,
        cameras_file: Text,
    }
    /// `[tls]` of both files.
    Tls "[tls]" { certificate: Text, key: Text, authority: Text, revoked: Text, }
    /// `[[agreement]]`
    Agreement "[[agreement]]" {
        reference: Text, centre: Text, addresses: Texts,
        from: Option<toml::Value>, until: Option<toml::Value>,
        designation_authority: Text, revoked: Text, require_fresh_revocation: Option<bool>,
        units: Texts, cameras: Texts, except: Texts, hours: Text, grounds: Texts,
        max_duration: Text, max_total: Text, max_relays: Option<i64>, max_designation: Text,
        snapshots: Option<bool>, vms: Option<bool>, watermark: Option<bool>,
        approval: Text, approval_timeout: Text, approval_exempt: Texts,
        authority: Text, certificate: Text, key: Text,
    }
    /// `[journal]` of both files.
    Journal "[journal]" { relay_after_loss: Option<bool>, keep: Text, }
    /// `[page]`
    Page "[page]" {
        listen: Text, certificate: Text, key: Text, authority: Text, revoked: Text, hosts: Texts,
        lock_after: Text,
    }
    /// `[[witness]]` of both files.
    Witness "[[witness]]" { name: Text, url: Text, key: Text, }
    /// `[notify]` of both files.
    Notify "[notify]" {
        url: Text, secret_file: Text, authority: Text, events: Texts, details: Option<bool>,
    }
    /// `[copies]` of both files.
    Copies "[copies]" {
        nats: Text, credentials_file: Text, authority: Text, stream: Text, plain: Option<bool>,
    }
    /// `[health]`
    Health "[health]" { probe: Text, }
    /// `[uplink]`
    Uplink "[uplink]" {
        max_bitrate: Text, min_per_relay: Text, congestion: Text, redundancy: Option<bool>,
    }
    /// `[[credential]]`
    Credential "[[credential]]" {
        id: Text, username: Text, password_file: Text, password_env: Text, auth: Text,
        password: Option<toml::Value>,
    }
    /// `[[host]]`
    Host "[[host]]" { address: Text, max_sessions: Option<i64>, start_interval: Text, }
    /// `[[camera]]`
    Camera "[[camera]]" {
        id: Text, name: Text, groups: Texts, main: Text, sub: Text, onvif: Text,
        credential: Text,
        transport: Text, position: Option<Vec<f64>>, bearing: Option<f64>,
        field_of_view: Option<f64>, neighbours: Texts, mask_verified: Option<bool>,
        start_timeout: Text, close_after: Text, warm: Option<bool>,
    }
    /// `[[ground]]`
    Ground "[[ground]]" { id: Text, fr: Text, en: Text, }

    /// `receiver.toml`, first level.
    Receiver "receiver.toml" {
        centre: Text, name: Text, state_dir: Text, metrics: Text, metrics_plain: Option<bool>,
    }
    /// `[link]`
    Link "[link]" { listen: Texts, }
    /// `[[commune]]`
    Commune "[[commune]]" { id: Text, authority: Text, revoked: Text, certificate: Text, key: Text, }
    /// `[console]`
    Console "[console]" {
        listen: Text, certificate: Text, key: Text, plain: Option<bool>, hosts: Texts,
        addresses: Text, tiles: Text, tiles_attribution: Text, lock_after: Text,
    }
    /// `[rtsp]` without its accounts.
    Rtsp "[rtsp]" {
        listen: Text, address: Text, tls_listen: Text, certificate: Text, key: Text,
        plain: Option<bool>, udp: Option<bool>,
    }
    /// `[[operators]]`
    Operators "[[operators]]" { designation_authority: Text, revoked: Text, designations: Text, units: Texts, }
    /// `[[rtsp.account]]`
    Account "[[rtsp.account]]" {
        name: Text, username: Text, password_file: Text, password_env: Text, from: Texts,
        communes: Texts, password: Option<toml::Value>,
    }
}
