//! Messages as cameras take and send them.

use super::*;
use crate::secret::Secret;

fn envelope(body: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" xmlns:tt="http://www.onvif.org/ver10/schema"><SOAP-ENV:Header/><SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>"#
    )
}

fn answered(body: &str) -> Element {
    answer(envelope(body).as_bytes()).unwrap()
}

#[test]
fn the_digest_is_that_of_the_specification() {
    // The example of ONVIF's Application Programmer's Guide, 6.1.1.3.
    let nonce = STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").unwrap();
    let credential = Credential {
        username: "us<er".to_owned(),
        password: Secret::new("userpassword"),
        basic: false,
    };
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(&nonce);
    hash.update(b"2010-09-16T07:50:45Z");
    hash.update(b"userpassword");
    assert_eq!(
        STANDARD.encode(hash.finish()),
        "tuOSpGlFlIXsozq4HFNeeGeFLEI="
    );

    let nonce: [u8; 16] = nonce.try_into().unwrap();
    let header = username_token(&credential, &nonce, Wall::from_seconds(1_284_623_445));
    for part in [
        "LKqI6G/AikKCQrN0zqZFlg==",
        "us&lt;er",
        "<u:Created>2010-09-16T07:50:45.000Z</u:Created>",
    ] {
        assert!(header.contains(part), "{part} not in {header}");
    }
    assert!(!header.contains("userpassword"));
}

#[test]
fn questions_are_well_formed_and_name_what_they_ask() {
    for (ask, inner) in [
        (Ask::Capabilities, "Category"),
        (Ask::Services, "IncludeCapability"),
        (Ask::Time, "GetSystemDateAndTime"),
        (Ask::Profiles(Media::Ver10), "GetProfiles"),
        (Ask::StreamUri(Media::Ver10, "a<b"), "StreamSetup"),
        (Ask::StreamUri(Media::Ver20, "a<b"), "Protocol"),
        (
            Ask::SynchronizationPoint(Media::Ver20, "a<b"),
            "ProfileToken",
        ),
    ] {
        let message = ask.message("");
        let body = answer(message.as_bytes()).unwrap();
        assert_eq!(body.name, ask.name());
        assert!(body.find(inner).is_some(), "{message}");
        if let Some(token) = body.find("ProfileToken") {
            assert_eq!(token.text, "a<b");
        }
        assert!(ask.content_type().contains(ask.name()));
    }
}

#[test]
fn the_media_service_is_found_in_both_lists_and_only_its_path_is_taken() {
    let old = answered(
        "<tds:GetCapabilitiesResponse><tds:Capabilities><tt:Media><tt:XAddr>http://192.168.1.64:8080/onvif/media?x=1</tt:XAddr></tt:Media></tds:Capabilities></tds:GetCapabilitiesResponse>",
    );
    assert_eq!(
        media_path(&old, Media::Ver10).as_deref(),
        Some("/onvif/media?x=1")
    );
    let new = answered(
        "<tds:GetServicesResponse><tds:Service><tds:Namespace>http://www.onvif.org/ver10/device/wsdl</tds:Namespace><tds:XAddr>http://h/device</tds:XAddr></tds:Service><tds:Service><tds:Namespace>http://www.onvif.org/ver20/media/wsdl</tds:Namespace><tds:XAddr>http://h/media2</tds:XAddr></tds:Service></tds:GetServicesResponse>",
    );
    assert_eq!(media_path(&new, Media::Ver10), None);
    assert_eq!(media_path(&new, Media::Ver20).as_deref(), Some("/media2"));
    let none =
        answered("<tds:GetCapabilitiesResponse><tds:Capabilities/></tds:GetCapabilitiesResponse>");
    assert_eq!(media_path(&none, Media::Ver10), None);
}

#[test]
fn profiles_and_their_streams_are_read() {
    let two = answered(
        r#"<trt:GetProfilesResponse><trt:Profiles token="P_1" fixed="true"><tt:Name>main</tt:Name></trt:Profiles><trt:Profiles token="P_2"/></trt:GetProfilesResponse>"#,
    );
    assert_eq!(profiles(&two), ["P_1", "P_2"]);
    let many = r#"<Profiles token="p"/>"#.repeat(PROFILES_LIMIT + 10);
    assert_eq!(
        profiles(&answered(&format!("<R>{many}</R>"))).len(),
        PROFILES_LIMIT
    );
    for body in [
        "<R><MediaUri><tt:Uri>rtsp://10.0.0.11/main?a=1&amp;b=2</tt:Uri></MediaUri></R>",
        "<R><Uri> rtsp://10.0.0.11/main?a=1&amp;b=2 </Uri></R>",
    ] {
        let uri = stream_uri(&answered(body)).unwrap();
        assert_eq!(uri.as_str(), "rtsp://10.0.0.11/main?a=1&b=2");
    }
    // Hundreds of them are kept.
    let long = format!("<Uri>rtsp://10.0.0.11/{}</Uri>", "x".repeat(URI_LIMIT));
    let body = format!("<GetStreamUriResponse>{long}</GetStreamUriResponse>");
    assert_eq!(stream_uri(&answered(&body)), None);
}

#[test]
fn a_stream_is_known_by_its_path_and_by_what_is_asked_of_it() {
    let serves = |uri: &str, wanted: &str| serves(&uri.parse().unwrap(), &wanted.parse().unwrap());
    let dahua =
        "rtsp://192.168.1.108:554/cam/realmonitor?channel=1&subtype=0&unicast=true&proto=Onvif";
    assert!(serves(
        dahua,
        "rtsp://cam/cam/realmonitor?channel=1&subtype=0"
    ));
    assert!(!serves(
        dahua,
        "rtsp://cam/cam/realmonitor?channel=1&subtype=1"
    ));
    assert!(serves(
        "rtsp://a/Streaming/Channels/101?transportmode=unicast",
        "rtsp://b:8554/streaming/channels/101/"
    ));
    assert!(!serves(
        "rtsp://a/Streaming/Channels/102",
        "rtsp://a/Streaming/Channels/101"
    ));
}

#[test]
fn faults_of_both_kinds_are_understood_and_fit_to_be_repeated() {
    let new = envelope(
        "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:NotAuthorized</env:Value></env:Subcode></env:Code><env:Reason><env:Text xml:lang='en'>Sender\u{1b}[2J not Authorized\u{202e}</env:Text></env:Reason></env:Fault>",
    );
    let Err(Unanswered::Fault(fault)) = answer(new.as_bytes()) else {
        panic!("no fault");
    };
    assert!(fault.is_not_authorized() && !fault.is_profile_gone());
    assert_eq!(fault.reason, "Sender[2J not Authorized");
    let old = envelope("<Fault><faultcode>wsse:FailedAuthentication</faultcode></Fault>");
    assert!(matches!(answer(old.as_bytes()), Err(Unanswered::Fault(f)) if f.is_not_authorized()));
    let gone = envelope(
        "<Fault><Code><Value>s:Sender</Value><Subcode><Value>ter:InvalidArgVal</Value><Subcode><Value>ter:NoProfile</Value></Subcode></Subcode></Code></Fault>",
    );
    let Err(Unanswered::Fault(fault)) = answer(gone.as_bytes()) else {
        panic!("no fault");
    };
    assert!(fault.is_profile_gone());
    assert_eq!(fault.reason, "Sender InvalidArgVal NoProfile");
    assert_eq!(answer(b"<html><Body/></html>"), Err(Unanswered::NotSoap));
}

#[test]
fn the_devices_clock_is_read() {
    let at = |time: &str| time_of(&format!("<R><tt:UTCDateTime>{time}</tt:UTCDateTime></R>"));
    fn time_of(body: &str) -> Option<Wall> {
        time(&answered(body))
    }
    let good = "<tt:Time><tt:Hour>7</tt:Hour><tt:Minute>50</tt:Minute><tt:Second>45</tt:Second></tt:Time><tt:Date><tt:Year>2010</tt:Year><tt:Month>9</tt:Month><tt:Day>16</tt:Day></tt:Date>";
    assert_eq!(at(good), Some(Wall::from_seconds(1_284_623_445)));
    assert_eq!(at(&good.replace("<tt:Month>9", "<tt:Month>13")), None);
    assert_eq!(at(""), None);
}

#[test]
fn a_late_answer_is_no_difference_of_clocks() {
    let at = Wall::from_seconds;
    // Told at once, in whole seconds; then by a machine that was held up for a minute.
    assert_eq!(
        clock_offset(at(100), at(100), at(100)),
        -1_000_000..=2_000_000
    );
    assert!(clock_offset(at(130), at(100), at(160)).contains(&0));
    // Two hours late, and known as such from then on.
    let late = clock_offset(at(100), at(7_300), at(7_300));
    assert!(!late.contains(&0) && late.contains(&-7_200_000_000));
    // Whatever a device tells, nothing overflows.
    clock_offset(Wall(i64::MIN), Wall(i64::MAX), Wall(i64::MIN));
}
