//! A gateway that was stolen or turned: it has its commune's link key, sees all that the
//! commune sees, and says whatever it likes. It must harm nobody but its own commune: no
//! grant that no operator asked for, no word in the centre's journal that is not its own, no
//! memory and no time of other communes.

mod floods;
mod gateway;
mod grants;
mod messages;
mod streams;

use fanal::format::ids::{GrantId, RequestId};
use fanal::format::statement::RequestClaims;
use serde_json::Value;
use uuid::Uuid;

use crate::api::live::{Socket, subscribe};
use crate::api::site::{Answer, COMMUNE, Operator, Site, commune, unit};
use gateway::Gateway;

/// The commune whose gateway keeps to the rules.
const NEIGHBOUR: &str = "rognac";

/// A centre with both communes linked, and one of its operators.
struct Stage {
    site: Site,
    bad: Gateway,
    good: Gateway,
    operator: Operator,
}

impl Stage {
    async fn linked() -> Self {
        let site = Site::start_with(&[NEIGHBOUR]).await;
        let operator = site.operator("13-1", "CORG 13");
        let (mut bad, mut good) = (Gateway::new(&site, COMMUNE), Gateway::new(&site, NEIGHBOUR));
        bad.link(&site).await;
        good.link(&site).await;
        Self {
            site,
            bad,
            good,
            operator,
        }
    }

    /// The centre starts again, and both gateways link again.
    async fn restart(&mut self) {
        self.site.stop().await;
        self.site.start_again().await;
        self.bad.link(&self.site).await;
        self.good.link(&self.site).await;
    }

    /// Claims for the neighbour's camera.
    fn neighbours(&self) -> RequestClaims {
        RequestClaims {
            aud: self.good.commune.clone(),
            ..self.site.claims(&["port"])
        }
    }

    /// A request that is granted by the commune it is for.
    async fn granted(&mut self, claims: &RequestClaims) -> (GrantId, String) {
        let request = self.operator.sign(claims);
        let id = GrantId(Uuid::now_v7());
        let gateway = if claims.aud == commune() {
            &mut self.bad
        } else {
            &mut self.good
        };
        let (answer, ()) = tokio::join!(self.site.post(&request), gateway.grant(id, claims));
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json["grant"], id.to_string());
        (id, request)
    }

    /// Posts a request to the malicious gateway's commune, which answers as it likes.
    async fn asked(
        &mut self,
        claims: &RequestClaims,
        lie: impl AsyncFnOnce(&mut Gateway, u64, String),
    ) -> Answer {
        let request = self.operator.sign(claims);
        let bad = &mut self.bad;
        let answers = async {
            let (id, request) = bad.request().await;
            lie(bad, id, request).await;
        };
        tokio::join!(self.site.post(&request), answers).0
    }

    /// Proves that the centre serves the other commune: a request is granted, journalled at
    /// once, and a picture comes.
    async fn neighbour_is_served(&mut self) {
        let claims = self.neighbours();
        let (grant, _) = self.granted(&claims).await;
        let relay = self.good.relay("port");
        let mut socket = Socket::authenticated(&self.site, &self.operator).await;
        socket.say(subscribe(&format!("{NEIGHBOUR}/port"))).await;
        let mut group = self.good.group(relay, 1).await;
        group.send(&unit(1, 0)).await;
        let (.., data) = socket.picture().await;
        assert_eq!(data, unit(1, 0).data);
        let path = format!("/grants/{grant}");
        let answer = self.site.delete(&self.operator, &path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Grants in the journal by the request that they name.
    fn journalled(&self, request: RequestId) -> Vec<Value> {
        let mut grants = self.site.entries("grant");
        grants.retain(|entry| entry["jti"] == request.0.to_string());
        grants
    }

    /// The ids of the grants that the operator's unit has, live ones alone.
    async fn live(&self) -> Vec<String> {
        let answer = self.site.get(&self.operator, "/grants").await;
        let all = answer.json["grants"].as_array().cloned();
        let all = all.unwrap_or_else(|| answer.json.as_array().cloned().unwrap());
        let live = all.iter().filter(|grant| grant["seconds_left"] != 0);
        live.map(|grant| grant["grant"].as_str().unwrap().to_owned())
            .collect()
    }
}
