//! The registry's way into Stepwell: registered models, their versions, and the logged models that versions name. One that is refused
//! is reported, and keeps nothing else from being imported.

use std::collections::VecDeque;

use super::{
    ImportError, ImportReport,
    entities::{File, LoggedModel, ModelVersion, Pairs, RegisteredModel, Source},
    files,
    import::Import,
    sum::Sum,
    target::{has_no_stage, tags_of},
};

/// Versions of a model that are yet to be made, by number.
struct Waiting<'m> {
    model: &'m RegisteredModel,
    versions: VecDeque<&'m ModelVersion>,
}

impl Waiting<'_> {
    /// Those up to the number that was given last cannot be made any more.
    fn give_up(&mut self, last: u64, report: &mut ImportReport) {
        let count = self.versions.iter().take_while(|version| version.number <= last).count();
        for version in self.versions.drain(..count) {
            let what = format!("model {:?}, version {}", self.model.name, version.number);
            report.mismatches.push(format!("{what}: it cannot be made after version {last}"));
        }
    }
}

impl Import<'_> {
    pub(super) fn models(&mut self) -> Result<(), ImportError> {
        let models = self.source.models()?;
        let there = if models.is_empty() { Vec::new() } else { self.target.api.models()? };
        let mut waiting = Vec::new();
        for model in &models {
            let found = there.iter().find(|found| found.name == model.name);
            let made = self.target.model(model, found);
            if self.or_report(&format!("model {:?}", model.name), made)?.is_some() {
                self.report.models.add(1, found.is_none().into());
                self.report.versions.add(model.versions.len(), 0);
                waiting.push(self.waiting(model, found)?);
            }
        }
        self.versions(waiting)?;
        for model in &models {
            let there = there.iter().find(|found| found.name == model.name).map_or(&[][..], |found| &found.aliases);
            for (alias, version) in model.aliases.iter().filter(|alias| !there.contains(alias)) {
                let set = self.target.alias(&model.name, alias, version);
                self.or_report(&format!("model {:?}: alias {alias:?}", model.name), set)?;
            }
        }
        self.verify_models(&models)
    }

    /// What succeeded; `None` for what was refused, which is then reported. Other errors end the import.
    fn or_report<T>(&mut self, what: &str, result: Result<T, ImportError>) -> Result<Option<T>, ImportError> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.is_refusal() => {
                self.report.mismatches.push(format!("{what}: {}", error.in_full()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The versions that are not there and can be made: no number is given twice, nor below one that was given.
    fn waiting<'m>(
        &mut self,
        model: &'m RegisteredModel,
        found: Option<&RegisteredModel>,
    ) -> Result<Waiting<'m>, ImportError> {
        let there = found.map_or(&[][..], |found| &found.versions);
        let last = there.iter().map(|made| made.number).chain(found.map(|found| found.last_version)).max().unwrap_or(0);
        let mut waiting = Waiting { model, versions: VecDeque::new() };
        for version in &model.versions {
            let Some(made) = there.iter().find(|made| made.number == version.number) else {
                waiting.versions.push_back(version);
                continue;
            };
            let what = format!("model {:?}, version {}", model.name, version.number);
            // An import before this one may have brought its logged model, which may have grown since.
            let origin = self.origin(version, false);
            self.or_report(&what, origin)?;
            // Or it may have ended before the version had its stage.
            if has_no_stage(made) {
                let staged = self.target.stage(&model.name, version);
                self.or_report(&what, staged)?;
            }
        }
        waiting.give_up(last, &mut self.report);
        Ok(waiting)
    }

    /// Makes them in rounds, since a version may have another model's for its source. One that is refused holds up those of its model
    /// that come after it, which would take its number, until a round makes none; then it is given up.
    fn versions(&mut self, mut waiting: Vec<Waiting<'_>>) -> Result<(), ImportError> {
        loop {
            waiting.retain(|of_model| !of_model.versions.is_empty());
            if waiting.is_empty() {
                return Ok(());
            }
            let (mut are_fewer, mut refusals) = (false, Vec::new());
            for of_model in &mut waiting {
                while let Some(version) = of_model.versions.front() {
                    match self.version(&of_model.model.name, version) {
                        Ok(()) => drop(of_model.versions.pop_front()),
                        // Each attempt uses up one more number, which one of the others may have.
                        Err(ImportError::VersionTaken { made, .. }) => of_model.give_up(made, &mut self.report),
                        Err(error) if error.is_refusal() => {
                            refusals.push(error);
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                    are_fewer = true;
                }
            }
            if !are_fewer {
                for (Waiting { model, versions }, error) in waiting.iter_mut().zip(refusals) {
                    let number = versions.pop_front().map_or(0, |version| version.number);
                    let what = format!("model {:?}, version {number}", model.name);
                    self.report.mismatches.push(format!("{what}: {}", error.in_full()));
                }
            }
        }
    }

    fn version(&mut self, model: &str, version: &ModelVersion) -> Result<(), ImportError> {
        let (source, model_id) = self.origin(version, true)?;
        self.target.version(model, version, &source, model_id.as_deref())?;
        self.report.versions.new += 1;
        let staged = self.target.stage(model, version);
        self.or_report(&format!("model {model:?}, version {}", version.number), staged).map(|_| ())
    }

    /// Where a version's files are now, and the id of the logged model that they are of: those of its run came with it, those of a
    /// logged model come here, if `is_needed` or an import before this one brought the model.
    fn origin(&mut self, version: &ModelVersion, is_needed: bool) -> Result<(String, Option<String>), ImportError> {
        let of_run = version.source.split_once(&format!("/{}/artifacts", version.run_id));
        if let (Some((_, path)), Some(project)) = (of_run, self.projects.get(&version.run_id)) {
            return Ok((format!("mlflow-artifacts:/{project}/{}/artifacts{path}", version.run_id), None));
        }
        let as_it_is = (version.source.clone(), None);
        let Some((id, path)) = logged_model_of(&version.source) else { return Ok(as_it_is) };
        if !self.logged_models.contains_key(id) {
            match self.logged_model(id, is_needed)? {
                Some(made) => drop(self.logged_models.insert(id.to_owned(), made)),
                None if is_needed && path.is_none() => return Err(ImportError::NoLoggedModel { id: id.to_owned() }),
                None => return Ok(as_it_is),
            }
        }
        let Some(made) = self.logged_models.get(id) else { return Ok(as_it_is) };
        let source = match path {
            None => format!("models:/{}", made.id),
            Some(path) => format!("{}{path}", made.location),
        };
        Ok((source, Some(made.id.clone())))
    }

    /// Brings a logged model with its files; `None` where the source has it no more.
    fn logged_model(&mut self, id: &str, is_needed: bool) -> Result<Option<LoggedModel>, ImportError> {
        let Some(wanted) = self.source.logged_model(id)? else { return Ok(None) };
        let Some(project) = self.experiments.get(&wanted.experiment_id).cloned() else { return Ok(None) };
        // Before it is made: what cannot be read is not to be there without its files.
        let files = self.source.model_files(&wanted)?;
        let found = self.target.found_logged_model(&project, &wanted)?;
        let is_new = found.is_none();
        let made = match found {
            Some(found) => found,
            None if is_needed => self.target.make_logged_model(&project, &wanted)?,
            None => return Ok(None),
        };
        self.report.lacks(self.source.absent_of_model(&wanted)?);
        let there = if is_new { Vec::new() } else { self.target.api.model_files(&made)? };
        let (source, target) = (self.source, &self.target);
        let sums = files::copy(
            &mut self.report,
            files,
            &there,
            |file| source.open_of_model(&wanted, file),
            |file, bytes| target.file(&made.location, file, bytes),
        )?;
        self.target.complete_logged_model(&wanted, &made)?;
        self.report.logged_models.add(1, is_new.into());
        self.verify_logged_model(&wanted, &made, &sums)?;
        Ok(Some(made))
    }

    fn verify_logged_model(
        &mut self,
        wanted: &LoggedModel,
        made: &LoggedModel,
        sums: &[(File, Sum)],
    ) -> Result<(), ImportError> {
        let owner = format!("logged model {}, which is {}", wanted.id, made.id);
        let found = self.target.api.logged_model(&made.id)?;
        let is_same = found.is_some_and(|found| {
            let facts = |model: &LoggedModel| (model.name.clone(), model.source_run_id.clone(), model.status.clone());
            let has = |found: &Pairs, wanted: &Pairs| wanted.iter().all(|pair| found.contains(pair));
            facts(&found) == facts(wanted) && has(&found.params, &wanted.params) && has(&found.tags, &tags_of(wanted))
        });
        if !is_same {
            self.report.mismatches.push(format!("{owner}: it is not as it was"));
        }
        let target = &self.target;
        files::compare(&mut self.report, &owner, sums, |file| target.api.open_of_model(made, file))
    }

    fn verify_models(&mut self, models: &[RegisteredModel]) -> Result<(), ImportError> {
        let there = if models.is_empty() { Vec::new() } else { self.target.api.models()? };
        for model in models {
            let Some(found) = there.iter().find(|found| found.name == model.name) else {
                self.report.mismatches.push(format!("model {:?} is not there", model.name));
                continue;
            };
            let facts = |model: &RegisteredModel| {
                let version = |v: &ModelVersion| (v.number, v.run_id.clone(), v.stage.clone(), v.description.clone());
                (model.versions.iter().map(version).collect::<Vec<_>>(), model.aliases.clone())
            };
            if facts(model) != facts(found) {
                self.report.mismatches.push(format!("model {:?} has other versions or aliases", model.name));
            }
        }
        Ok(())
    }
}

/// The id of the logged model whose files a source names, and the path below its files where it names one.
fn logged_model_of(source: &str) -> Option<(&str, Option<&str>)> {
    if let Some(id) = source.strip_prefix("models:/") {
        return (!id.is_empty() && !id.contains(['/', '@'])).then_some((id, None));
    }
    source.match_indices("/models/m-").find_map(|(at, _)| {
        let (id, path) = source[at + "/models/".len()..].split_once('/')?;
        let path = path.strip_prefix("artifacts").filter(|path| path.is_empty() || path.starts_with('/'))?;
        Some((id, Some(path)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_name_logged_models_or_do_not() {
        for (source, named) in [
            ("models:/m-1", Some(("m-1", None))),
            ("mlflow-artifacts:/1/models/m-1/artifacts", Some(("m-1", Some("")))),
            ("file:///a/models/m-x/1/models/m-1/artifacts/sub/b", Some(("m-1", Some("/sub/b")))),
            ("models:/name/1", None),
            ("models:/name@alias", None),
            ("mlflow-artifacts:/1/r/artifacts/models/m", None),
            ("s3://bucket/models/m-1/artifactsx", None),
        ] {
            assert_eq!(logged_model_of(source), named, "{source}");
        }
    }
}
