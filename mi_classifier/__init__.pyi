# Read by type checkers, by editors, and by lazy_loader when the package is imported.
from . import (
    activation_maps as activation_maps,
)
from . import (
    baselines as baselines,
)
from . import (
    commands as commands,
)
from . import (
    config as config,
)
from . import (
    data as data,
)
from . import (
    errors as errors,
)
from . import (
    estimate as estimate,
)
from . import (
    evaluation as evaluation,
)
from . import (
    information as information,
)
from . import (
    localization as localization,
)
from . import (
    losses as losses,
)
from . import (
    models as models,
)
from . import (
    ranking as ranking,
)
from . import (
    scikit_learn as scikit_learn,
)
from . import (
    training as training,
)
from .activation_maps import (
    class_activation_map as class_activation_map,
)
from .activation_maps import (
    info_cam as info_cam,
)
from .activation_maps import (
    info_cam_plus as info_cam_plus,
)
from .commands import (
    evaluate as evaluate,
)
from .commands import (
    train as train,
)
from .config import (
    get_config as get_config,
)
from .data import (
    Dataset as Dataset,
)
from .data import (
    from_arrays as from_arrays,
)
from .data import (
    load_dataset as load_dataset,
)
from .errors import (
    UserError as UserError,
)
from .estimate import (
    CrossFit as CrossFit,
)
from .estimate import (
    MutualInformation as MutualInformation,
)
from .estimate import (
    cross_fit as cross_fit,
)
from .estimate import (
    estimate_mutual_information as estimate_mutual_information,
)
from .estimate import (
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
)
from .information import (
    log_label_prior as log_label_prior,
)
from .information import (
    log_pc_softmax as log_pc_softmax,
)
from .information import (
    optimal_decision as optimal_decision,
)
from .information import (
    pointwise_mutual_information as pointwise_mutual_information,
)
from .information import (
    softmax_to_pc_logits as softmax_to_pc_logits,
)
from .information import (
    variational_bound as variational_bound,
)
from .localization import (
    best_iou as best_iou,
)
from .localization import (
    box_accuracy_curve as box_accuracy_curve,
)
from .localization import (
    boxes_at_thresholds as boxes_at_thresholds,
)
from .localization import (
    boxes_from_maps as boxes_from_maps,
)
from .localization import (
    iou as iou,
)
from .localization import (
    localization_accuracy as localization_accuracy,
)
from .localization import (
    peaks_from_maps as peaks_from_maps,
)
from .localization import (
    pointing_accuracy as pointing_accuracy,
)
from .localization import (
    score_maps as score_maps,
)
from .losses import (
    pc_sigmoid_cross_entropy as pc_sigmoid_cross_entropy,
)
from .losses import (
    pc_softmax_cross_entropy as pc_softmax_cross_entropy,
)
from .losses import (
    sigmoid_cross_entropy as sigmoid_cross_entropy,
)
from .losses import (
    softmax_cross_entropy as softmax_cross_entropy,
)
from .models import (
    ModelOutput as ModelOutput,
)
from .models import (
    create_model as create_model,
)
from .ranking import (
    Ranking as Ranking,
)
from .ranking import (
    conditional_mutual_information as conditional_mutual_information,
)
from .ranking import (
    rank_columns as rank_columns,
)
from .run import (
    Prediction as Prediction,
)
from .run import (
    Run as Run,
)
from .run import (
    load as load,
)
from .scikit_learn import (
    MutualInformationClassifier as MutualInformationClassifier,
)
from .scikit_learn import (
    mutual_information_score as mutual_information_score,
)

__version__: str
