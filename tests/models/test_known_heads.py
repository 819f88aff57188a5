from curator_assets.models.known_heads import find_known_head


def test_the_head_is_chosen_by_score_and_embedding_model():
    assert find_known_head("aesthetic", "ViT-L-14", "openai") == "aesthetic_mlp_vit_l_14"
    assert find_known_head("aesthetic", "ViT-L-14-quickgelu", "openai") == "aesthetic_mlp_vit_l_14"
    assert find_known_head("nsfw", "ViT-B-32", "openai") == "nsfw_vit_b_32"
    assert find_known_head("nsfw", "ViT-B-32", "laion2b_s34b_b79k") is None
    assert find_known_head("nsfw", "efficientnet_lite0", "imagenet") is None
