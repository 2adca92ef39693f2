//! The VMS accounts of the settings, as players' credentials are looked up in them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::settings::Account;

/// The accounts by their RTSP user. A reload replaces them.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts(BTreeMap<String, Arc<Account>>);

impl Accounts {
    pub(super) fn of(accounts: &[Account]) -> Self {
        let by_user = accounts.iter();
        Self(
            by_user
                .map(|account| (account.username.clone(), Arc::new(account.clone())))
                .collect(),
        )
    }

    /// The account of this user, where it may come from this address.
    pub(super) fn find(&self, user: &str, from: IpAddr) -> Option<&Arc<Account>> {
        self.0.get(user).filter(|account| account.lets_in(from))
    }
}
