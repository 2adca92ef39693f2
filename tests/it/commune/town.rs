//! A world whose gateway serves the commune's page, and who works there.

use std::net::SocketAddr;
use std::time::Duration;

use fanal::certs::authority::Person;
use fanal::certs::{Identity, Validity};
use fanal::clock::Clock;
use fanal::commands::client::new_id;
use fanal::format::decision::{CutClaims, CutDecision, DECISION_TYPE, Decision, DecisionClaims};
use fanal::format::ids::{CentreId, CommuneId, RequestId};
use fanal::format::jws::Signer;
use fanal::format::statement::{REQUEST_TYPE, TOKEN_TYPE, TokenClaims};

use crate::api::openapi;
use crate::api::site::{Answer, call};
use crate::world::{COMMUNE, Operator, Plan, World};

/// What gateway.toml says of the page.
pub const PAGE: &str = "[page]\nlisten = \"127.0.0.1:0\"\nauthority = \"page-ca.pem\"\n";

/// Somebody at the commune.
pub struct Agent {
    pub identity: Identity,
    pub signer: Signer,
}

impl Agent {
    fn now() -> i64 {
        Clock::system().now().wall.seconds()
    }

    /// A bearer token for this id.
    pub fn token_for(&self, id: &str) -> String {
        let claims = TokenClaims {
            jti: new_id(),
            iat: Self::now(),
            exp: Self::now() + 300,
            aud: CentreId::new(id).unwrap(),
        };
        self.signer.sign(TOKEN_TYPE, &claims)
    }

    pub fn decides(&self, request: RequestId, decision: Decision) -> String {
        let claims = DecisionClaims {
            jti: new_id(),
            iat: Self::now(),
            aud: CommuneId::new(COMMUNE).unwrap(),
            request,
            decision,
        };
        self.signer.sign(DECISION_TYPE, &claims)
    }

    pub fn cuts(&self, scope: &str, decision: CutDecision) -> String {
        let claims = CutClaims {
            jti: new_id(),
            iat: Self::now(),
            aud: CommuneId::new(COMMUNE).unwrap(),
            scope: scope.to_owned(),
            block: (decision == CutDecision::Cut).then_some(900),
            decision: Some(decision),
        };
        self.signer.sign(DECISION_TYPE, &claims)
    }
}

pub struct Town {
    pub world: World,
}

impl Town {
    /// With an agreement that wants approval.
    pub async fn start() -> Self {
        let plan = Plan {
            agreement: "approval = \"commune\"\n".to_owned(),
            gateway: PAGE.to_owned(),
            ..Plan::default()
        };
        Self {
            world: World::start(plan).await,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.world.commune_page.unwrap()
    }

    /// Somebody whose certificate the commune's authority signed.
    pub fn agent(&self, number: &str) -> Agent {
        let person = Person {
            number: number.to_owned(),
            name: format!("Brigadier {number}"),
            unit: "Police municipale".to_owned(),
        };
        let now = Clock::system().now().wall;
        let validity = Validity::lasting(now, Duration::from_secs(3_600));
        let identity = self.world.agents.operator(&person, validity).unwrap();
        Agent {
            signer: Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap(),
            identity,
        }
    }

    /// An operator of the centre, as somebody who could sign here.
    pub fn operator(&self, number: &str) -> Agent {
        let now = Clock::system().now().wall;
        let trial = &self.world.trial;
        let identity = trial.simple_operator(number, "CORG 13", now).unwrap();
        Agent {
            signer: Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap(),
            identity,
        }
    }

    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let path = format!("/api/v1{path}");
        let answer = call(self.address(), method, &path, headers, body).await;
        openapi::check(&openapi::PAGE, method, &path, &answer);
        answer
    }

    pub async fn get(&self, agent: &Agent, path: &str) -> Answer {
        let bearer = format!("Bearer {}", agent.token_for(COMMUNE));
        self.raw("GET", path, &[("authorization", &bearer)], "")
            .await
    }

    pub async fn send(&self, method: &str, path: &str, statement: &str) -> Answer {
        let kind = [("content-type", "application/jose")];
        self.raw(method, path, &kind, statement).await
    }

    /// Asks for a camera; the request waits.
    pub async fn ask(&self, operator: &Operator, camera: &str) -> RequestId {
        let mut claims = operator.claims(&[camera], 600);
        claims.present = vec!["Capitaine Roux".to_owned()];
        let text = operator.client.sign(REQUEST_TYPE, &claims);
        let answer = operator.client.post_request(text).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.json);
        claims.jti
    }
}
