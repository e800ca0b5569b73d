"""A neural-network classifier is a mutual-information estimator.

The public names, by the room they live in:

* estimates: `estimate_mutual_information`, `pointwise_mutual_information_of`,
  `cross_fit`, `CrossFit`, `MutualInformation`
* columns: `rank_columns`, `Ranking`, `conditional_mutual_information`
* scikit-learn: `MutualInformationClassifier`, `mutual_information_score`
* information: `log_pc_softmax`, `pointwise_mutual_information`, `variational_bound`,
  `label_entropy`, `log_label_prior`, `optimal_decision`, `softmax_to_pc_logits`
* losses: `softmax_cross_entropy`, `pc_softmax_cross_entropy`,
  `sigmoid_cross_entropy`, `pc_sigmoid_cross_entropy`
* maps: `class_activation_map`, `info_cam`, `info_cam_plus`
* localization: `boxes_from_maps`, `peaks_from_maps`, `score_maps`, `iou`, `best_iou`,
  `localization_accuracy`, `pointing_accuracy`, `boxes_at_thresholds`,
  `box_accuracy_curve`
* models: `create_model`, `ModelOutput`
* data: `from_arrays`, `load_dataset`, `Dataset`
* experiments: `get_config`, `train`, `evaluate`, `Results`
* trained nets: `load`, `Run`, `Prediction`
* nets of other frameworks: `evaluate_features`
* errors: `UserError`
"""

import lazy_loader

from mi_classifier import forks

__version__ = "0.7.0"

# Loads a name when it is first asked for: importing JAX, TFDS and Orbax takes seconds,
# and `train.py --help` needs none of them. __init__.pyi says where each name lives.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
forks.watch()
