//! Weldr as a contender.

use super::*;

impl Contender for AddressCluster {
    const NAME: &str = "Weldr";

    fn machines(&self) -> &[Host] {
        &self.machines
    }

    fn client(&self) -> &Host {
        &self.client
    }

    fn lan(&self) -> &Lan {
        &self.lan
    }

    async fn disturb(&mut self, how: Move, holder: usize) {
        match how {
            Move::Kill => drop(self.nodes[holder].take().unwrap().kill().await),
            Move::Link => self.lan.connect(&self.machines[holder], false),
            Move::Isolate => self.lan.isolate(&self.machines[holder], true),
            Move::Stop => self.process(holder).signal(Signal::STOP),
            Move::Planned => {
                let new = NAMES[(holder + 1) % NAMES.len()];
                let told = self.ctl(holder, &["transfer", new]).await;
                assert_eq!(told.code(), Some(0), "{told:?}");
            }
        }
    }

    async fn repair(&mut self, how: Move, holder: usize) {
        match how {
            Move::Kill => self.run(holder).await,
            Move::Link => self.lan.connect(&self.machines[holder], true),
            Move::Isolate => self.lan.isolate(&self.machines[holder], false),
            Move::Stop => self.process(holder).signal(Signal::CONT),
            Move::Planned => {}
        }
        self.is_whole().await;
    }
}
