//! Places on the earth, as filters compare them.
//!
//! The earth is a sphere here, which is up to 0.5 % off in distance. Trigonometry comes from a library of our own
//! choice rather than the platform's: every replica must say the same of a point, to the last bit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// Mean radius of the earth in metres.
const EARTH_RADIUS: f64 = 6_371_008.8;
/// Degrees by which bounds are drawn larger than they are computed; about a metre.
const MARGIN: f64 = 1e-5;

/// A place by latitude and longitude, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// -90 to 90, north is positive.
    pub lat: f64,
    /// -180 to 180, east is positive.
    pub lon: f64,
}

impl GeoPoint {
    /// Whether both are in range.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (-90.0..=90.0).contains(&self.lat) && (-180.0..=180.0).contains(&self.lon)
    }

    /// The place that a payload value is, if it is one: an object with the numbers `lat` and `lon`, in range.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let Value::Map(fields) = value else {
            return None;
        };
        let number = |fields: &BTreeMap<String, Value>, key| fields.get(key)?.as_f64();
        let point = Self {
            lat: number(fields, "lat")?,
            lon: number(fields, "lon")?,
        };
        point.is_valid().then_some(point)
    }
}

/// All places within a distance of a centre, the rim included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoCircle {
    /// The centre.
    pub center: GeoPoint,
    /// The distance in metres, along the surface.
    pub radius: f64,
}

/// The square of the sine of half an angle.
fn haversine(angle: f64) -> f64 {
    let sine = libm::sin(angle / 2.0);
    sine * sine
}

impl GeoCircle {
    /// Its radius as an angle at the earth's centre; half a turn reaches everything.
    fn angle(&self) -> f64 {
        (self.radius / EARTH_RADIUS).min(std::f64::consts::PI)
    }

    /// Whether a place is in it.
    #[must_use]
    pub fn contains(&self, point: GeoPoint) -> bool {
        let (a, b) = (self.center, point);
        let lat = haversine((b.lat - a.lat).to_radians());
        let lon = haversine((b.lon - a.lon).to_radians());
        let across = libm::cos(a.lat.to_radians()) * libm::cos(b.lat.to_radians());
        // Where half a turn reaches everything, rounding must not leave anything out.
        self.angle() >= std::f64::consts::PI || lat + across * lon <= haversine(self.angle())
    }

    /// A box that contains it.
    #[must_use]
    pub fn bounds(&self) -> GeoBox {
        let reach = self.angle().to_degrees() + MARGIN;
        let (south, north) = (self.center.lat - reach, self.center.lat + reach);
        let whole = GeoBox {
            south: south.max(-90.0),
            west: -180.0,
            north: north.min(90.0),
            east: 180.0,
        };
        if south <= -90.0 || north >= 90.0 {
            return whole;
        }
        let sine = libm::sin(self.angle()) / libm::cos(self.center.lat.to_radians());
        let reach = libm::asin(sine.min(1.0)).to_degrees() + MARGIN;
        if reach >= 180.0 {
            return whole;
        }
        let turned = |lon: f64| match lon {
            lon if lon < -180.0 => lon + 360.0,
            lon if lon > 180.0 => lon - 360.0,
            lon => lon,
        };
        GeoBox {
            west: turned(self.center.lon - reach),
            east: turned(self.center.lon + reach),
            ..whole
        }
    }
}

/// All places between two latitudes and two longitudes, the edges included. Where west is greater than east, it crosses
/// the 180th meridian.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoBox {
    /// The southern edge: a latitude in degrees.
    pub south: f64,
    /// The western edge: a longitude in degrees.
    pub west: f64,
    /// The northern edge, not south of the southern one.
    pub north: f64,
    /// The eastern edge.
    pub east: f64,
}

impl GeoBox {
    /// Whether a place is in it. The 180th meridian has two longitudes, and is in it if either is.
    #[must_use]
    pub fn contains(&self, point: GeoPoint) -> bool {
        let within = |lon: f64| match self.west <= self.east {
            true => self.west <= lon && lon <= self.east,
            false => self.west <= lon || lon <= self.east,
        };
        let meridian = point.lon.abs() >= 180.0;
        (self.south <= point.lat && point.lat <= self.north)
            && (within(point.lon) || (meridian && within(-point.lon)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(lat: f64, lon: f64) -> GeoPoint {
        GeoPoint { lat, lon }
    }

    #[test]
    fn distances_are_those_of_the_globe() {
        let (paris, london) = (at(48.8566, 2.3522), at(51.5074, -0.1278));
        for (center, point, kilometres) in [
            (paris, london, 343.6),
            (at(0.0, 179.5), at(0.0, -179.5), 111.2),
            (at(90.0, 0.0), at(90.0, 120.0), 0.0),
            (at(0.0, 0.0), at(0.0, 180.0), 20_015.2),
        ] {
            let within = |radius| GeoCircle { center, radius }.contains(point);
            assert!(within((kilometres + 0.5) * 1000.0), "{kilometres}");
            assert!(
                kilometres < 1.0 || !within((kilometres - 0.5) * 1000.0),
                "{kilometres}"
            );
        }
    }

    #[test]
    fn boxes_may_cross_the_meridian() {
        let pacific = GeoBox {
            south: -10.0,
            west: 170.0,
            north: 10.0,
            east: -170.0,
        };
        for lon in [170.0, 180.0, -180.0, -170.0] {
            assert!(pacific.contains(at(0.0, lon)), "{lon}");
        }
        for point in [at(0.0, 0.0), at(11.0, 180.0), at(0.0, 169.9)] {
            assert!(!pacific.contains(point), "{point:?}");
        }
        let west = GeoBox {
            west: -180.0,
            ..pacific
        };
        assert!(west.contains(at(0.0, 180.0)));
    }

    fn points() -> impl Strategy<Value = GeoPoint> {
        (-90.0..=90.0, -180.0..=180.0).prop_map(|(lat, lon)| at(lat, lon))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_circle_is_within_its_bounds(
            center in points(),
            exponent in 0.0..7.5_f64,
            turn in 0.0..std::f64::consts::TAU,
            share in 0.0..1.05_f64,
        ) {
            let circle = GeoCircle { center, radius: 10_f64.powf(exponent) };
            // A place at a share of the radius, in some direction.
            let angle = circle.angle() * share;
            let (lat, sine) = (center.lat.to_radians(), angle.sin());
            let there = (lat.sin() * angle.cos() + lat.cos() * sine * turn.cos()).clamp(-1.0, 1.0).asin();
            let east = (turn.sin() * sine * lat.cos()).atan2(angle.cos() - lat.sin() * there.sin());
            let lon = (center.lon + east.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
            let place = at(there.to_degrees().clamp(-90.0, 90.0), lon.clamp(-180.0, 180.0));
            if circle.contains(place) {
                prop_assert!(circle.bounds().contains(place), "{circle:?} {place:?}");
            }
            if share < 0.99 && circle.radius > 100.0 {
                prop_assert!(circle.contains(place), "{circle:?} {place:?}");
            }
        }
    }
}
