"""A TFDS builder of prepared documents that runs in one process; see zhlm.corpus.builders."""

import tensorflow_datasets as tfds

from zhlm.corpus import builders


class ZhlmDocuments(tfds.core.GeneratorBasedBuilder):
  """The documents of a workdir, made in this process."""

  VERSION = tfds.core.Version('1.0.0')
  MANUAL_DOWNLOAD_INSTRUCTIONS = 'A workdir that launch.prepare made.'

  def _info(self):
    return builders.info(self)

  def _split_generators(self, manager):
    return {split: self._generate_examples(path) for split, path in builders.files(manager).items()}

  def _generate_examples(self, path):
    with open(path, encoding='utf-8') as file:
      yield from map(builders.example, file)
