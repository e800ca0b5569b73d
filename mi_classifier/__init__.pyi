# Read by type checkers, by editors, and by lazy_loader when the package is imported.
from . import baselines, data, estimate, evaluation, information, localization
from . import activation_maps, commands, config, errors, losses, models, training
from .activation_maps import class_activation_map, info_cam, info_cam_plus
from .commands import evaluate, train
from .config import get_config
from .data import Dataset, load_dataset
from .errors import UserError
from .estimate import (
    CrossFit,
    MutualInformation,
    cross_fit,
    estimate_mutual_information,
    pointwise_mutual_information_of,
)
from .evaluation import Results
from .information import (
    label_entropy,
    log_label_prior,
    log_pc_softmax,
    optimal_decision,
    pointwise_mutual_information,
    softmax_to_pc_logits,
    variational_bound,
)
from .localization import (
    best_iou,
    box_accuracy_curve,
    boxes_at_thresholds,
    boxes_from_maps,
    iou,
    localization_accuracy,
    peaks_from_maps,
    pointing_accuracy,
    score_maps,
)
from .losses import (
    pc_sigmoid_cross_entropy,
    pc_softmax_cross_entropy,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from .models import ModelOutput, create_model

__version__: str
