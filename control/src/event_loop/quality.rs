//! Questions about the sessions that the data plane monitors, page by page: `xlns show quality`, and
//! which are silent.

use xlns_dataplane::api::SessionKey;
use xlns_dataplane::quality::{SessionQuality, Settings};

use super::EventLoop;
use super::queries::DATAPLANE_AWAY;
use crate::admin::{
    ConnectionId, Cursor, PAGE_ROWS, QualityFilter, QualityRow, QualityScope, QualitySweep,
    Response, WORST_MAX,
};
use crate::time::Time;

/// Sessions of one question of a sweep: some hundred microseconds of work.
const SWEEP_PAGE: u16 = 512;

/// Said where nothing is monitored.
const MONITORING_OFF: &str = "the quality of sessions is not monitored: set quality.interval_ms (10000 \
     is a usual value) in the configuration, and restart xlns-dataplane and xlnsd";

/// Who waits for the quality of sessions. The data plane answers in order.
#[derive(Debug)]
pub enum QualityFor {
    /// An operator.
    Show(Show),
    /// The LNS, to test the links of silent sessions.
    Silence,
}

/// An operator's question.
#[derive(Debug)]
pub struct Show {
    connection: ConnectionId,
    filter: QualityFilter,
    /// What was found so far; `None`: each page is an answer by itself.
    sweep: Option<Box<QualitySweep>>,
}

impl EventLoop {
    /// Begins to answer, or goes on behind the page before.
    pub(super) fn ask_quality(
        &mut self,
        connection: ConnectionId,
        filter: QualityFilter,
        scope: QualityScope,
        cursor: u64,
    ) {
        let Some(settings) = self.config.quality_settings() else {
            return self.admin.refuse(connection, MONITORING_OFF);
        };
        let sweep = match scope {
            QualityScope::Worst(worst) if worst > WORST_MAX => {
                let message = format!("{worst} sessions: 0 to {WORST_MAX}, or all of them");
                return self.admin.refuse(connection, &message);
            }
            QualityScope::Worst(worst) => Some(Box::new(QualitySweep::new(settings, worst))),
            QualityScope::All => None,
        };
        let cursor = u32::try_from(cursor).unwrap_or(u32::MAX);
        self.ask_quality_page(Show { connection, filter, sweep }, cursor);
    }

    fn ask_quality_page(&mut self, show: Show, cursor: u32) {
        let limit = if show.sweep.is_some() { SWEEP_PAGE } else { PAGE_ROWS as u16 };
        if self.dataplane.request_session_quality(cursor, limit, 0) {
            self.shows.quality.push_back(QualityFor::Show(show));
        } else {
            self.admin.refuse(show.connection, DATAPLANE_AWAY);
        }
    }

    /// Asks which sessions leave the workers' requests unanswered.
    pub(super) fn ask_for_silence(&mut self, now: Time) {
        let Some((cursor, unanswered_min)) = self.lns.poll_silence_question() else { return };
        if self.dataplane.request_session_quality(cursor, SWEEP_PAGE, unanswered_min) {
            self.shows.quality.push_back(QualityFor::Silence);
        } else {
            self.lns.handle_silence(now, &[], None);
        }
    }

    pub(super) fn answer_quality(
        &mut self,
        now: Time,
        sessions: &[(SessionKey, SessionQuality)],
        next_cursor: Option<u32>,
    ) {
        match self.shows.quality.pop_front() {
            Some(QualityFor::Show(show)) => self.go_on_with_quality(show, sessions, next_cursor),
            Some(QualityFor::Silence) => self.lns.handle_silence(now, sessions, next_cursor),
            None => {}
        }
    }

    fn go_on_with_quality(
        &mut self,
        mut show: Show,
        sessions: &[(SessionKey, SessionQuality)],
        next_cursor: Option<u32>,
    ) {
        let Some(settings) = self.config.quality_settings() else { return };
        let Some(sweep) = &mut show.sweep else {
            let rows = self.quality_rows(sessions, &show.filter, settings);
            let next = next_cursor.map(|cursor| Cursor::At(cursor.into()));
            return self.admin.reply(show.connection, &rows, next);
        };
        for (key, quality) in sessions {
            if let Some(subject) = self.lns.quality_subject(*key, &show.filter) {
                sweep.add(*key, subject.lac, quality);
            }
        }
        match next_cursor {
            Some(cursor) => self.ask_quality_page(show, cursor),
            None => {
                let worst = sweep.worst();
                let summaries = sweep.summaries();
                let mut rows = self.quality_rows(&worst, &show.filter, settings);
                rows.extend(summaries.into_iter().map(Response::QualitySummary));
                self.admin.reply(show.connection, &rows, None);
            }
        }
    }

    /// Rows of sessions that are there, and wanted.
    fn quality_rows(
        &self,
        sessions: &[(SessionKey, SessionQuality)],
        filter: &QualityFilter,
        settings: Settings,
    ) -> Vec<Response> {
        let row = |(key, quality): &(SessionKey, SessionQuality)| {
            let subject = self.lns.quality_subject(*key, filter)?;
            let row = QualityRow::new(*key, &subject, quality, settings);
            Some(Response::Quality(Box::new(row)))
        };
        sessions.iter().filter_map(row).collect()
    }

    /// The data plane went away with sweeps under way.
    pub(super) fn refuse_quality(&mut self, now: Time) {
        while let Some(waiting) = self.shows.quality.pop_front() {
            match waiting {
                QualityFor::Show(show) => self.admin.refuse(show.connection, DATAPLANE_AWAY),
                QualityFor::Silence => self.lns.handle_silence(now, &[], None),
            }
        }
    }
}
