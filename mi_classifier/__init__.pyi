# Read by type checkers, by editors, and by lazy_loader when the package is imported.
from . import (
    activation_maps as activation_maps,
    baselines as baselines,
    commands as commands,
    config as config,
    data as data,
    errors as errors,
    estimate as estimate,
    evaluation as evaluation,
    information as information,
    localization as localization,
    losses as losses,
    models as models,
    ranking as ranking,
    scikit_learn as scikit_learn,
    training as training,
)
from .activation_maps import (
    class_activation_map as class_activation_map,
    info_cam as info_cam,
    info_cam_plus as info_cam_plus,
)
from .commands import (
    evaluate as evaluate,
    train as train,
)
from .config import (
    get_config as get_config,
)
from .data import (
    Dataset as Dataset,
    from_arrays as from_arrays,
    load_dataset as load_dataset,
)
from .errors import (
    UserError as UserError,
)
from .estimate import (
    CrossFit as CrossFit,
    MutualInformation as MutualInformation,
    cross_fit as cross_fit,
    estimate_mutual_information as estimate_mutual_information,
    pointwise_mutual_information_of as pointwise_mutual_information_of,
)
from .evaluation import (
    Results as Results,
)
from .features import (
    evaluate_features as evaluate_features,
)
from .information import (
    label_entropy as label_entropy,
    log_label_prior as log_label_prior,
    log_pc_softmax as log_pc_softmax,
    optimal_decision as optimal_decision,
    pointwise_mutual_information as pointwise_mutual_information,
    softmax_to_pc_logits as softmax_to_pc_logits,
    variational_bound as variational_bound,
)
from .localization import (
    best_iou as best_iou,
    box_accuracy_curve as box_accuracy_curve,
    boxes_at_thresholds as boxes_at_thresholds,
    boxes_from_maps as boxes_from_maps,
    iou as iou,
    localization_accuracy as localization_accuracy,
    peaks_from_maps as peaks_from_maps,
    pointing_accuracy as pointing_accuracy,
    score_maps as score_maps,
)
from .losses import (
    pc_sigmoid_cross_entropy as pc_sigmoid_cross_entropy,
    pc_softmax_cross_entropy as pc_softmax_cross_entropy,
    sigmoid_cross_entropy as sigmoid_cross_entropy,
    softmax_cross_entropy as softmax_cross_entropy,
)
from .models import (
    ModelOutput as ModelOutput,
    create_model as create_model,
)
from .ranking import (
    Ranking as Ranking,
    conditional_mutual_information as conditional_mutual_information,
    rank_columns as rank_columns,
)
from .run import (
    Prediction as Prediction,
    Run as Run,
    load as load,
)
from .scikit_learn import (
    MutualInformationClassifier as MutualInformationClassifier,
    mutual_information_score as mutual_information_score,
)

__version__: str
