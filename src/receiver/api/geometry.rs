//! Places in queries, and what lies where.

use crate::http::Problem;

/// Most corners of a polygon.
const CORNERS: usize = 256;
/// Mean radius of the Earth in metres.
const EARTH: f64 = 6_371_008.8;

pub(super) fn bad(name: &str, form: &str) -> Problem {
    Problem::with_status(400, format!("{name} must be {form}"))
}

/// Numbers with anything usual between them; empty where one is none.
fn numbers(text: &str) -> Vec<f64> {
    let parts = text.split([',', ';', ' ']).filter(|part| !part.is_empty());
    let read: Result<Vec<f64>, _> = parts.map(str::parse::<f64>).collect();
    let read = read.unwrap_or_default();
    if read.iter().all(|number| number.is_finite()) {
        read
    } else {
        Vec::new()
    }
}

/// A place as it is given in a query.
pub(super) fn point(name: &str, text: &str) -> Result<[f64; 2], Problem> {
    match numbers(text)[..] {
        [latitude, longitude] if is_point([latitude, longitude]) => Ok([latitude, longitude]),
        _ => Err(bad(name, "LAT,LON in degrees")),
    }
}

/// `LAT,LON,METRES`: the middle and how far it reaches.
pub(super) fn circle(text: &str) -> Result<([f64; 2], f64), Problem> {
    match numbers(text)[..] {
        [latitude, longitude, metres] if is_point([latitude, longitude]) && metres >= 0.0 => {
            Ok(([latitude, longitude], metres))
        }
        _ => Err(bad("circle", "LAT,LON,METRES")),
    }
}

fn is_point([latitude, longitude]: [f64; 2]) -> bool {
    latitude.abs() <= 90.0 && longitude.abs() <= 180.0
}

/// `LAT,LON;LAT,LON;…`, at least three corners.
pub(super) fn polygon(text: &str) -> Result<Vec<[f64; 2]>, Problem> {
    let form = "LAT,LON;LAT,LON;… with 3 to 256 corners";
    if text.len() > CORNERS * 48 {
        return Err(bad("polygon", form));
    }
    let read = numbers(text);
    let (corners, rest) = read.as_chunks::<2>();
    let fits = rest.is_empty()
        && (3..=CORNERS).contains(&corners.len())
        && corners.iter().all(|corner| is_point(*corner));
    if fits {
        Ok(corners.to_vec())
    } else {
        Err(bad("polygon", form))
    }
}

/// Metres between two places, along the ground.
pub(super) fn distance(from: [f64; 2], to: [f64; 2]) -> f64 {
    let [from_latitude, from_longitude] = from.map(f64::to_radians);
    let [to_latitude, to_longitude] = to.map(f64::to_radians);
    let latitude = ((to_latitude - from_latitude) / 2.0).sin();
    let longitude = ((to_longitude - from_longitude) / 2.0).sin();
    let chord =
        latitude * latitude + from_latitude.cos() * to_latitude.cos() * longitude * longitude;
    let metres = 2.0 * EARTH * chord.sqrt().clamp(0.0, 1.0).asin();
    (metres * 10.0).round() / 10.0
}

/// Degrees from north at which a place lies, 0 to 360.
pub(super) fn direction(from: [f64; 2], to: [f64; 2]) -> f64 {
    let [from_latitude, from_longitude] = from.map(f64::to_radians);
    let [to_latitude, to_longitude] = to.map(f64::to_radians);
    let turn = to_longitude - from_longitude;
    let east = turn.sin() * to_latitude.cos();
    let north = from_latitude.cos() * to_latitude.sin()
        - from_latitude.sin() * to_latitude.cos() * turn.cos();
    let degrees = (east.atan2(north).to_degrees() * 10.0).round() / 10.0;
    (degrees + 360.0) % 360.0
}

/// Whether a place is inside a polygon (even-odd rule; flat, which is right for
/// the size of a commune).
pub(super) fn contains(corners: &[[f64; 2]], [latitude, longitude]: [f64; 2]) -> bool {
    let before = corners.iter().cycle().skip(corners.len().saturating_sub(1));
    let mut is_inside = false;
    for (here, there) in corners.iter().zip(before) {
        let crosses = (here[0] > latitude) != (there[0] > latitude);
        if crosses {
            let at = (there[1] - here[1]) * (latitude - here[0]) / (there[0] - here[0]) + here[1];
            is_inside ^= longitude < at;
        }
    }
    is_inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions() {
        let berre = [43.4745, 5.1692];
        for (to, degrees) in [
            ([43.5745, 5.1692], 0.0),
            ([43.4745, 5.1792], 90.0),
            ([43.3745, 5.1692], 180.0),
            ([43.4745, 5.1592], 270.0),
            (berre, 0.0),
        ] {
            assert!((direction(berre, to) - degrees).abs() < 0.11, "{to:?}");
        }
    }
}
