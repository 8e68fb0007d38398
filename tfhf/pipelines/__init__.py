"""Tasks, from text to results: ``tfhf.pipeline``."""

from tfhf.pipelines.base import Pipeline, PipelineException
from tfhf.pipelines.feature_extraction import FeatureExtractionPipeline
from tfhf.pipelines.fill_mask import FillMaskPipeline
from tfhf.pipelines.pipeline import pipeline
from tfhf.pipelines.question_answering import QuestionAnsweringPipeline
from tfhf.pipelines.summarization import SummarizationPipeline
from tfhf.pipelines.text2text import Text2TextGenerationPipeline
from tfhf.pipelines.text_classification import TextClassificationPipeline
from tfhf.pipelines.text_generation import TextGenerationPipeline
from tfhf.pipelines.token_classification import TokenClassificationPipeline
from tfhf.pipelines.translation import TranslationPipeline
from tfhf.pipelines.zero_shot_classification import ZeroShotClassificationPipeline

__all__ = [
    "FeatureExtractionPipeline",
    "FillMaskPipeline",
    "Pipeline",
    "PipelineException",
    "QuestionAnsweringPipeline",
    "SummarizationPipeline",
    "Text2TextGenerationPipeline",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TokenClassificationPipeline",
    "TranslationPipeline",
    "ZeroShotClassificationPipeline",
    "pipeline",
]
