"""What the keys of config files mean for our numbers, part by part.

The rule, for each key of a part:

- It is a field of the part's dataclass (mdp_lite.models.config): it is read.
- It is in `only`: it changes numbers, and this code has them for these values alone. Any other
  value is refused with the part, the key and the value.
- It is in `ignored`: it belongs to training, to saving, to another sampler or another task, or it
  acts only on blocks that Stable Diffusion does not have. It changes no number.
- It begins with an underscore, or it is unknown and null: ignored.
- It is unknown and has a value: ignored, as diffusers and transformers do, and a note says so.

tests/checkpoint/test_configs.py holds this against the installed diffusers and transformers.
"""

from typing import Any, NamedTuple


class Keys(NamedTuple):
    """The keys of a part that are not read; see above."""

    only: dict[str, tuple[Any, ...]]
    ignored: frozenset[str]


# Quantised weights need code of their own; a diffusers or transformers config says so here.
NOT_QUANTIZED: dict[str, tuple[Any, ...]] = {"quantization_config": (None,)}
SAVING = "auto_map dtype torch_dtype gradient_checkpointing transformers_version".split()
# What diffusers' EMAModel.save_pretrained adds, now and in older versions.
AVERAGE = (
    "decay min_decay max_value optimization_step update_after_step use_ema_warmup inv_gamma power "
    "collected_params cur_decay_value"
).split()

UNET = Keys(
    only={
        **NOT_QUANTIZED,
        "attention_type": ("default",),
        "center_input_sample": (False, None),
        "class_embed_type": (None,),
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "downsample_padding": (1,),
        "dual_cross_attention": (False, None),
        "encoder_hid_dim": (None,),
        "encoder_hid_dim_type": (None,),
        "mid_block_scale_factor": (1,),
        "num_attention_heads": (None,),  # diffusers refuses a number too
        "num_class_embeds": (None,),
        "only_cross_attention": (False, None),
        "resnet_time_scale_shift": ("default",),
        "time_embedding_act_fn": (None,),
        "time_embedding_dim": (None,),
        "time_embedding_type": ("positional",),
        "timestep_post_act": (None,),
    },
    # Those of added embeddings act only with other kinds of them or with class_embed_type; the
    # resnet's and cross_attention_norm only in blocks of other families. upcast_attention is a hint
    # for half precision, where scaled_dot_product_attention accumulates in float32 anyway.
    ignored=frozenset(
        "addition_embed_type_num_heads class_embeddings_concat "
        "cross_attention_norm dropout mid_block_only_cross_attention "
        "resnet_out_scale_factor resnet_skip_time_act "
        "upcast_attention".split()
        + SAVING
        + AVERAGE
    ),
)

VAE = Keys(
    only={
        **NOT_QUANTIZED,
        "latents_mean": (None,),
        "latents_std": (None,),
        "shift_factor": (None, 0),
    },
    # A VAE that overflows in half precision is run in float32 (pipeline/finite.py) without it.
    ignored=frozenset(["force_upcast", *SAVING, *AVERAGE]),
)

TAESD = Keys(
    only={
        **NOT_QUANTIZED,
        "shift_factor": (None, 0),
        "upsample_fn": ("nearest", "nearest-exact"),  # the same, as sides are doubled
        "upsampling_scaling_factor": (2,),
    },
    # latent_magnitude and latent_shift are for latents that are stored as bytes. block_out_channels
    # repeats the decoder's. Its numbers are small in half precision too.
    ignored=frozenset(
        ["block_out_channels", "force_upcast", "latent_magnitude", "latent_shift", *SAVING]
        + AVERAGE
    ),
)

# Fields of every config of transformers 4.x: saving, training, generation, other tasks.
TRANSFORMERS = """
    add_cross_attention architectures attn_implementation bad_words_ids begin_suppress_tokens
    bos_token_id chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id
    id2label initializer_factor initializer_range is_composition is_decoder is_encoder_decoder
    keys_to_ignore_at_inference label2id length_penalty max_length min_length no_repeat_ngram_size
    num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_scores pad_token_id prefix problem_type projection_dim
    remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id
    suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder
    tie_word_embeddings tokenizer_class top_k top_p torchscript typical_p use_bfloat16 use_cache
    use_return_dict xla_device
    attention_dropout dropout logit_scale_init_value
    text_config text_config_dict vision_config vision_config_dict
""".split()

TEXT_ENCODER = Keys(
    only={
        **NOT_QUANTIZED,
        "model_type": ("clip_text_model", None),
        "pruned_heads": ({}, None),
    },
    ignored=frozenset([*TRANSFORMERS, *SAVING]),
)

# Arguments of diffusers' other schedulers: how they step, never what the model was trained on.
OTHER_SAMPLERS = """
    algorithm_type alpha_cum_end alpha_cum_start base_image_seq_len base_shift block_length
    clip_denoised clip_sample_range correct_steps corrector_k corrector_order corrector_selection
    corrector_selection_tau corrector_steps disable_corrector dynamic_thresholding_ratio
    editing_threshold entropy_bound eps eta euler_at_final final_sigmas_type
    final_step_size_scale flow_shift gamma gamma_cum_end gamma_cum_start interpolation_type
    invert_sigmas lambda_min_clipped lower_order_final mask_token_id masking_schedule
    max_image_seq_len max_shift minimal_topk n_grid noise_mode noise_sampler_seed
    num_inference_steps num_policy_substeps num_vec_classes original_inference_steps predict_x0
    predictor_order rho s s_churn s_max s_min s_noise sample_max_value sampling_eps scale_factors
    scaler schedule_mode scheduler_type shift shift_terminal sigma_data sigma_max sigma_min
    sigma_schedule skip_prk_steps snr snr_shift_scale solver_order solver_p solver_type
    stage_range stages stochastic_sampling t_lim_ode t_lim_ode_below t_max t_min
    tail_step_multiplier tail_steps tau_func tensor_format threshold time_shift_type
    timestep_scaling timestep_type tsr_k tsr_sigma upscale_mode use_beta_sigmas
    use_dynamic_shifting use_exponential_sigmas use_flow_sigmas use_karras_sigmas use_lu_lambdas
    variance_type
""".split()

SCHEDULER = Keys(
    # clip_sample is read before: it is refused where it is true.
    only={"thresholding": (False, None), "trained_betas": (None,)},
    ignored=frozenset(["clip_sample", *OTHER_SAMPLERS]),
)
