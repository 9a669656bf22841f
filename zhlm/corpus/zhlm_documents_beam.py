"""A TFDS builder of prepared documents that runs on Apache Beam; see zhlm.corpus.builders."""

import tensorflow_datasets as tfds

from zhlm.corpus import builders


class ZhlmDocumentsBeam(tfds.core.BeamBasedBuilder):
  """The same, made by Apache Beam."""

  VERSION = tfds.core.Version('1.0.0')
  MANUAL_DOWNLOAD_INSTRUCTIONS = 'A workdir that launch.prepare made.'

  def _info(self):
    return builders.info(self)

  def _split_generators(self, manager, pipeline):
    return {
      split: self._generate_examples(pipeline, path) for split, path in builders.files(manager).items()
    }

  def _generate_examples(self, pipeline, path):
    import apache_beam as beam

    return f'read {path}' >> beam.io.ReadFromText(path) | f'parse {path}' >> beam.Map(builders.example)
