//! Files as they were published, saved again, cut short and made up.

use super::*;
use serde_json::json;

/// The published file's fields, small.
fn published() -> Value {
    let text = r#"{
        "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "vocab_size": 64, "hidden_size": 64,
        "intermediate_size": 96, "moe_intermediate_size": 32, "num_hidden_layers": 5, "num_nextn_predict_layers": 1,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_routed_experts": 32, "n_shared_experts": 2,
        "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5, "norm_topk_prob": true,
        "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_attention_heads": 2, "num_key_value_heads": 2,
        "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
        "index_n_heads": 16, "index_head_dim": 32, "index_topk": 8, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 163840, "rope_theta": 20000, "hidden_act": "silu", "attention_bias": false,
        "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                         "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}
    }"#;
    serde_json::from_str(text).unwrap()
}

fn read(json: &Value) -> Result<Config, String> {
    Config::from_json(json.to_string().as_bytes(), |_| false).map_err(|error| error.to_string())
}

fn with(edit: impl FnOnce(&mut Value)) -> Result<Config, String> {
    let mut json = published();
    edit(&mut json);
    read(&json)
}

fn remove(json: &mut Value, name: &str) -> Value {
    json.as_object_mut().unwrap().remove(name).unwrap()
}

#[test]
fn a_file_that_transformers_saved_again_says_the_same() {
    let as_published = read(&published()).unwrap();
    let both = with(|json| json["rope_scaling"]["rope_type"] = "yarn".into());
    assert_eq!(both.unwrap(), as_published);
    let five = with(|json| {
        let mut rope = remove(json, "rope_scaling");
        let kind = remove(&mut rope, "type");
        rope["rope_type"] = kind;
        rope["rope_theta"] = remove(json, "rope_theta");
        json["rope_parameters"] = rope;
        json["rope_scaling"] = Value::Null;
        json["head_dim"] = 16.into();
        json["mlp_layer_types"] = json!(["dense", "sparse", "sparse", "sparse", "sparse"]);
        json["layer_types"] = json!(vec!["indexed_attention"; 5]);
        for gone in [
            "scoring_func",
            "topk_method",
            "num_nextn_predict_layers",
            "moe_layer_freq",
            "first_k_dense_replace",
        ] {
            remove(json, gone);
        }
    });
    assert_eq!(five.unwrap(), as_published);
    let nulls = with(|json| {
        for name in ["num_nextn_predict_layers", "mlp_layer_types", "rope_parameters", "hidden_act"] {
            json[name] = Value::Null;
        }
    });
    assert_eq!(nulls.unwrap(), as_published);
    let twins = with(|json| json["rope_parameters"] = json["rope_scaling"].clone());
    assert_eq!(twins.unwrap(), as_published);
    // transformers 5 puts the base, and defaults, beside the rest; what one of two leaves out is no contradiction.
    let fuller = with(|json| {
        json["rope_parameters"] = json["rope_scaling"].clone();
        json["rope_parameters"]["rope_theta"] = json["rope_theta"].clone();
        remove(&mut json["rope_scaling"], "beta_slow");
    });
    assert_eq!(fuller.unwrap(), as_published);
    let error = with(|json| {
        json["rope_parameters"] = json["rope_scaling"].clone();
        json["rope_parameters"]["rope_theta"] = 50000.into();
    });
    let error = error.unwrap_err();
    assert!(error.contains("rope_theta is 20000 by the first and 50000 by the second"), "{error}");
}

#[test]
fn what_is_absent_has_the_value_that_transformers_gives_it() {
    let bare = with(|json| {
        for name in [
            "n_group",
            "topk_group",
            "n_shared_experts",
            "routed_scaling_factor",
            "norm_topk_prob",
            "first_k_dense_replace",
            "rope_theta",
        ] {
            remove(json, name);
        }
    });
    let bare = bare.unwrap();
    assert_eq!(
        (bare.n_group, bare.topk_group, bare.n_shared_experts, bare.first_k_dense_replace),
        (8, 4, 1, 3)
    );
    assert_eq!((bare.routed_scaling_factor, bare.norm_topk_prob, bare.rope_theta), (2.5, true, 10000.0));
    let few = with(|json| {
        remove(json, "first_k_dense_replace");
        json["num_hidden_layers"] = 2.into();
    });
    assert_eq!(few.unwrap().first_k_dense_replace, 2);
    let inside = with(|json| json["rope_scaling"]["rope_theta"] = 500000.into());
    assert_eq!(inside.unwrap().rope_theta, 500000.0);
    let original = with(|json| {
        json["original_max_position_embeddings"] = 2048.into();
        json["rope_scaling"]["beta_fast"] = Value::Null;
    });
    assert_eq!(original.unwrap().yarn.unwrap().original_max_position_embeddings, 2048);
    let lists =
        with(|json| json["mlp_layer_types"] = json!(["dense", "dense", "sparse", "sparse", "sparse"]));
    assert_eq!(lists.unwrap().first_k_dense_replace, 2, "transformers goes by the list");
    let float = with(|json| json["rope_scaling"]["original_max_position_embeddings"] = json!(4096.0));
    assert_eq!(float.unwrap().yarn, read(&published()).unwrap().yarn);
    let text = with(|json| json["rope_scaling"]["factor"] = "40".into()).unwrap_err();
    assert!(text.contains("factor: expected a number, found `40`") && !text.contains("missing"), "{text}");
    let alias = with(|json| json["num_experts"] = remove(json, "n_routed_experts"));
    assert_eq!(alias.unwrap().n_routed_experts, 32);
}

/// Each changes what is computed; none may be passed over.
#[test]
fn what_is_not_computed_is_refused_by_its_name() {
    for (name, value) in [
        ("scoring_func", json!("softmax")),
        ("topk_method", json!("greedy")),
        ("hidden_act", json!("gelu")),
        ("attention_bias", json!(true)),
        ("mlp_bias", json!(true)),
        ("rope_interleave", json!(false)),
        ("rope_interleave", Value::Null),
        ("moe_layer_freq", json!(2)),
        ("moe_layer_freq", json!([0, 1, 1, 1, 1])),
        ("partial_rotary_factor", json!(0.5)),
        ("final_logit_softcapping", json!(30.0)),
        ("indexer_types", json!(["full", "shared", "full", "full", "full"])),
        ("index_topk_pattern", json!("FSFFF")),
        ("layer_types", json!(vec!["sliding_attention"; 5])),
        ("mlp_layer_types", json!(["dense", "sparse", "dense", "sparse", "sparse"])),
        ("mlp_layer_types", json!(["dense", "sparse"])),
        ("num_key_value_heads", json!(1)),
        ("num_experts", json!(64)),
        ("num_mtp_layers", json!(3)),
        ("n_group", Value::Null),
        ("n_shared_experts", Value::Null),
        ("norm_topk_prob", Value::Null),
        ("routed_scaling_factor", json!("2.5")),
        ("routed_scaling_factor", json!(0)),
        ("num_attention_heads", json!(-4)),
        ("hidden_size", json!(64.5)),
        ("rope_scaling", json!("yarn")),
        ("rope_scaling.truncate", json!(false)),
        ("rope_scaling.truncate", Value::Null),
        ("rope_scaling.attention_factor", json!(0.9)),
        ("rope_scaling.partial_rotary_factor", json!(0.25)),
        ("rope_scaling.rope_type", json!("linear")),
        ("rope_scaling.mscale", json!(0.707)),
        ("rope_scaling.mscale", Value::Null),
        ("rope_scaling.mscale_all_dim", json!(0)),
        ("rope_scaling.factor", Value::Null),
        ("rope_scaling.extrapolation_factor", json!(2.0)),
        ("rope_scaling.low_freq_factor", json!(4.0)),
        ("rope_parameters", json!({"rope_type": "yarn", "factor": 32})),
    ] {
        let refused = with(|json| match name.split_once('.') {
            Some((outer, inner)) => json[outer][inner] = value.clone(),
            None => json[name] = value.clone(),
        });
        let error = refused.expect_err(&format!("{name} = {value}"));
        let last = name.rsplit('.').next().unwrap();
        assert!(error.contains(last), "{name} = {value}: {error}");
    }
    let error = with(|json| _ = remove(&mut json["rope_scaling"], "type")).unwrap_err();
    assert!(
        error.contains("rope_scaling.factor: expected none without rope_type `yarn`, found 40"),
        "{error}"
    );
}

#[test]
fn numbers_have_bounds_of_their_own() {
    for (name, value) in [
        ("n_routed_experts", 1u64 << 28),
        ("num_hidden_layers", u64::MAX),
        ("n_shared_experts", 1 << 40),
        ("n_shared_experts", 1 << 20),
        ("vocab_size", 1 << 27),
        ("num_attention_heads", 1 << 20),
        ("v_head_dim", 1 << 20),
        ("index_n_heads", 1 << 20),
        ("index_topk", 1 << 60),
        ("max_position_embeddings", 1 << 60),
        ("num_experts_per_tok", 1 << 20),
        ("topk_group", 1 << 20),
    ] {
        let error = with(|json| json[name] = value.into()).unwrap_err();
        assert!(error.contains(name) && error.contains(&value.to_string()), "{name} = {value}: {error}");
    }
    let error = with(|json| {
        json["num_hidden_layers"] = 4096.into();
        json["n_routed_experts"] = 4096.into();
    });
    let error = error.unwrap_err();
    assert!(error.contains("num_hidden_layers times n_routed_experts"), "{error}");
}

#[test]
fn an_architecture_is_a_name_with_or_without_a_list() {
    for (name, runs) in [
        (json!("DeepseekV32ForCausalLM"), true),
        (json!("LlamaForCausalLM"), false),
        (json!(["LlamaForCausalLM"]), false),
        (json!({"name": "x"}), false),
    ] {
        let mut json = published();
        json["architectures"] = name.clone();
        assert_eq!(read(&json).is_ok(), runs, "{name}");
    }
    let mut json = published();
    json["model_type"] = json!(5);
    assert!(read(&json).unwrap_err().contains("this is DeepseekV32ForCausalLM (model_type"));
}
